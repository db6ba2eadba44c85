//! Approval policies: which requests wait, and for whom.

mod matchers;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::ids::{ExternalSystemId, InstanceSizeId, PolicyId, ServiceId, TemplateId, UserId};
use shepherd_domain::policy::{Candidate, Explanation, PolicyEnvironment, PolicyOperation};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::policies::{PolicyContent, PolicyRecord};
use shepherd_usecases::policy::explain::{self, ExplainRule};
use shepherd_usecases::policy::update::{self, UpdatePolicy};
use shepherd_usecases::policy::{self, create, delete as remove};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, present, query_value, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};
use matchers::{ApprovalPolicyMatchers, ApprovalPolicyMatchersRequest};

requirements! {
    /// `approval:policy`
    Manage = [ApprovalPolicy],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_policy)
        // Before the policies, of which none has this name for an id.
        .service(post_explain)
        .service(get_policy)
        .service(patch_policy)
        .service(delete_policy);
}

/// What happens to requests that it is for.
#[derive(Serialize, ToSchema)]
struct ApprovalPolicy {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// A request type, or `ANY`.
    operation: &'static str,
    /// `test`, `prod` or `all`.
    environment: &'static str,
    matchers: ApprovalPolicyMatchers,
    /// Whether requests wait, or are approved by themselves.
    requires_approval: bool,
    /// Ids of users, and keys of roles; empty for every holder of `approval:approve`.
    approvers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_system_id: Option<Uuid>,
    priority: i32,
    enabled: bool,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<PolicyRecord> for ApprovalPolicy {
    fn from(record: PolicyRecord) -> Self {
        let content = record.content;
        Self {
            id: record.id.into(),
            name: content.name,
            description: content.description,
            operation: content.operation.as_str(),
            environment: content.environment.as_str(),
            matchers: content.matchers.into(),
            requires_approval: content.requires_approval,
            approvers: content.approvers,
            external_system_id: content.external_system_id.map(Into::into),
            priority: content.priority,
            enabled: content.enabled,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of policies.
#[derive(Serialize, ToSchema)]
struct ApprovalPolicyList {
    items: Vec<ApprovalPolicy>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// A request type, or `ANY`.
    operation: Option<String>,
}

/// List approval policies
///
/// The highest priority first.
#[utoipa::path(tag = "approvals", operation_id = "list_approval_policies", params(ListQuery), responses((status = 200, body = ApprovalPolicyList)))]
#[get("/admin/approval-policies")]
async fn list(api: web::Data<Api>, _auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let operation: Option<PolicyOperation> = query_value("operation", query.operation.as_deref())?;
    let request = page(query.page, query.per_page)?;
    let found = api.platform.read.list_policies(operation, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(ApprovalPolicy::from).collect();
    Ok(HttpResponse::Ok().json(ApprovalPolicyList { items, pagination }))
}

/// What a policy can be about.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ApprovalPolicyOperation {
    Any,
    CreateVm,
    ModifyVm,
    DeleteVm,
    StartVm,
    StopVm,
    RestartVm,
    VncAccess,
    BatchCreate,
    BatchDelete,
    BatchPower,
    SnapshotVm,
    DeleteSnapshot,
    RestoreVm,
    CloneVm,
    MigrateVm,
}

/// Where a policy can apply.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ApprovalPolicyEnvironment {
    Test,
    Prod,
    All,
}

/// A new policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "small machines in dev", "operation": "CREATE_VM", "environment": "test", "requires_approval": false,
    "matchers": {"namespaces": ["dev-*"], "max_cpu_cores": 4, "special_hardware": false}, "priority": 10,
}))]
struct CreateApprovalPolicyRequest {
    /// Unique.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    #[schema(max_length = 1024)]
    description: Option<String>,
    #[schema(value_type = ApprovalPolicyOperation)]
    operation: PolicyOperation,
    #[schema(value_type = ApprovalPolicyEnvironment)]
    environment: PolicyEnvironment,
    /// Which requests it is for; absent for all.
    matchers: Option<ApprovalPolicyMatchersRequest>,
    /// Whether requests wait; true when absent.
    requires_approval: Option<bool>,
    /// Ids of users, and keys of roles (ids of roles without one); absent or empty for every holder of
    /// `approval:approve`. Nobody else approves, administrators included; whoever administers the platform may reject.
    #[schema(max_items = 100)]
    approvers: Option<Vec<String>>,
    /// The external system that is asked as well.
    external_system_id: Option<Uuid>,
    /// The highest wins; 0 when absent.
    #[schema(minimum = -1000000, maximum = 1000000)]
    priority: Option<i32>,
    /// True when absent.
    enabled: Option<bool>,
}

/// Create an approval policy
///
/// It is for requests that are submitted from now on.
#[utoipa::path(tag = "approvals", operation_id = "create_approval_policy", request_body = CreateApprovalPolicyRequest, responses((status = 201, body = ApprovalPolicy)))]
#[post("/admin/approval-policies")]
async fn post_policy(api: web::Data<Api>, auth: Authorized<Manage, Json<CreateApprovalPolicyRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    // Patterns are fields: what is wrong with them is for those alone who may write the policy.
    policy::require_reach(&auth.caller, body.environment)?;
    let content = PolicyContent {
        name: body.name,
        description: body.description,
        operation: body.operation,
        environment: body.environment,
        matchers: body.matchers.unwrap_or_default().parse()?,
        requires_approval: body.requires_approval.unwrap_or(true),
        approvers: body.approvers.unwrap_or_default(),
        external_system_id: body.external_system_id.map(ExternalSystemId::from_uuid),
        priority: body.priority.unwrap_or(0),
        enabled: body.enabled.unwrap_or(true),
    };
    let answer = create::execute(&api.platform, &auth.caller, content, request.as_ref()).await?;
    let record = answer.outcome;
    Ok(created(
        format!("{BASE}/admin/approval-policies/{}", record.id),
        record.row_version,
        answer.replayed,
        ApprovalPolicy::from(record),
    ))
}

/// Get an approval policy
#[utoipa::path(tag = "approvals", operation_id = "get_approval_policy", params(("policy_id" = Uuid, Path)), responses((status = 200, body = ApprovalPolicy)))]
#[get("/admin/approval-policies/{policy_id}")]
async fn get_policy(api: web::Data<Api>, _auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: PolicyId = path_id("policy_id", &id)?;
    let record = policy::find(&api.platform, id).await?;
    Ok(versioned(record.row_version, ApprovalPolicy::from(record)))
}

/// What changes; absent leaves a value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateApprovalPolicyRequest {
    #[schema(min_length = 1, max_length = 63)]
    name: Option<String>,
    /// Null clears it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1024, nullable)]
    description: Option<Option<String>>,
    #[schema(value_type = Option<ApprovalPolicyOperation>)]
    operation: Option<PolicyOperation>,
    #[schema(value_type = Option<ApprovalPolicyEnvironment>)]
    environment: Option<PolicyEnvironment>,
    /// All matchers from now on; null is for all requests.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<ApprovalPolicyMatchersRequest>, nullable)]
    matchers: Option<Option<ApprovalPolicyMatchersRequest>>,
    requires_approval: Option<bool>,
    /// All approvers from now on.
    #[schema(max_items = 100)]
    approvers: Option<Vec<String>>,
    /// Null asks none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Uuid>, nullable)]
    external_system_id: Option<Option<Uuid>>,
    #[schema(minimum = -1000000, maximum = 1000000)]
    priority: Option<i32>,
    enabled: Option<bool>,
}

/// Change an approval policy
///
/// Requests that were submitted before are not judged again.
#[utoipa::path(tag = "approvals", operation_id = "update_approval_policy", params(("policy_id" = Uuid, Path)), request_body = UpdateApprovalPolicyRequest, responses((status = 200, body = ApprovalPolicy)))]
#[patch("/admin/approval-policies/{policy_id}")]
async fn patch_policy(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<UpdateApprovalPolicyRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: PolicyId = path_id("policy_id", &id)?;
    let Json(body) = auth.body;
    policy::reachable(&api.platform, &auth.caller, id).await?;
    let matchers = body.matchers.map(|matchers| matchers.unwrap_or_default().parse());
    let command = UpdatePolicy {
        name: body.name,
        description: body.description,
        operation: body.operation,
        environment: body.environment,
        matchers: matchers.transpose()?,
        requires_approval: body.requires_approval,
        approvers: body.approvers,
        external_system: body
            .external_system_id
            .map(|system| system.map(ExternalSystemId::from_uuid)),
        priority: body.priority,
        enabled: body.enabled,
    };
    update::execute(&api.platform, &auth.caller, id, command, version.0).await?;
    let record = policy::find(&api.platform, id).await?;
    Ok(versioned(record.row_version, ApprovalPolicy::from(record)))
}

/// Delete an approval policy
#[utoipa::path(tag = "approvals", operation_id = "delete_approval_policy", params(("policy_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/approval-policies/{policy_id}")]
async fn delete_policy(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: PolicyId = path_id("policy_id", &id)?;
    remove::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a request can ask for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ExplainedOperation {
    CreateVm,
    ModifyVm,
    DeleteVm,
    StartVm,
    StopVm,
    RestartVm,
    VncAccess,
    BatchCreate,
    BatchDelete,
    BatchPower,
    SnapshotVm,
    DeleteSnapshot,
    RestoreVm,
    CloneVm,
    MigrateVm,
}

/// A request as far as it is described. What is not said of it matches nothing that asks for it; without a size it may
/// need special hardware, so a policy that makes requests wait matches either way, and one that approves does not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"operation": "CREATE_VM", "environment": "test", "namespace": "dev-web", "cpu_cores": 2}))]
struct ExplainPoliciesRequest {
    #[schema(value_type = ExplainedOperation)]
    operation: RequestType,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    requester_id: Option<Uuid>,
    #[schema(min_length = 1, max_length = 63)]
    namespace: Option<String>,
    /// Its System follows.
    service_id: Option<Uuid>,
    /// Its name follows.
    template_id: Option<Uuid>,
    /// Its numbers count where no others are given.
    instance_size_id: Option<Uuid>,
    #[schema(minimum = 1)]
    cpu_cores: Option<i32>,
    #[schema(minimum = 1)]
    memory_mb: Option<i32>,
    #[schema(minimum = 1)]
    disk_gb: Option<i32>,
    /// Follows from the operation when absent.
    batch: Option<bool>,
}

impl From<ExplainPoliciesRequest> for ExplainRule {
    fn from(body: ExplainPoliciesRequest) -> Self {
        Self {
            operation: body.operation,
            environment: body.environment,
            requester: body.requester_id.map(UserId::from_uuid),
            namespace: body.namespace,
            service: body.service_id.map(ServiceId::from_uuid),
            template: body.template_id.map(TemplateId::from_uuid),
            size: body.instance_size_id.map(InstanceSizeId::from_uuid),
            cpu_cores: body.cpu_cores,
            memory_mb: body.memory_mb,
            disk_gb: body.disk_gb,
            batch: body.batch,
        }
    }
}

/// What the policies would say to a request, and why.
#[derive(Serialize, ToSchema)]
struct PolicyExplanation {
    /// REQUIRES_APPROVAL or AUTO_APPROVED.
    decision: &'static str,
    /// Absent when the default rule decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_policy_id: Option<Uuid>,
    /// REQUIRES_APPROVAL or AUTO_APPROVED, as it is without any policy.
    default_rule: &'static str,
    /// The policies about this kind of request here: the winner first, then the others that match, then the rest.
    candidates: Vec<PolicyCandidate>,
}

/// A policy that was looked at.
#[derive(Serialize, ToSchema)]
struct PolicyCandidate {
    policy_id: Uuid,
    matched: bool,
    priority: i32,
    /// Number of matchers, one more for an exact operation, and one more for an exact environment.
    specificity: u32,
    /// The first matcher that does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_matcher: Option<&'static str>,
}

impl From<Candidate> for PolicyCandidate {
    fn from(candidate: Candidate) -> Self {
        Self {
            policy_id: candidate.policy_id.into(),
            matched: candidate.matched,
            priority: candidate.priority,
            specificity: candidate.specificity,
            failed_matcher: candidate.failed_matcher.map(|matcher| matcher.as_str()),
        }
    }
}

impl From<Explanation> for PolicyExplanation {
    fn from(explanation: Explanation) -> Self {
        Self {
            decision: explanation.rule.decision.as_str(),
            matched_policy_id: explanation.rule.policy.map(Into::into),
            default_rule: explanation.default_rule.as_str(),
            candidates: explanation.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

/// Explain what the policies would say to a request
#[utoipa::path(tag = "approvals", operation_id = "explain_approval_policies", request_body = ExplainPoliciesRequest, responses((status = 200, body = PolicyExplanation)))]
#[post("/admin/approval-policies/explain")]
async fn post_explain(api: web::Data<Api>, auth: Authorized<Manage, Json<ExplainPoliciesRequest>>) -> Answer {
    let Json(body) = auth.body;
    let explanation = explain::execute(&api.platform, &auth.caller, body.into()).await?;
    Ok(HttpResponse::Ok().json(PolicyExplanation::from(explanation)))
}
