//! The workbench: what a caller may decide.

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::problem::Problem;
use shepherd_ports::workbench::{TierCounts, WorkbenchFilter};
use shepherd_usecases::approval::workbench;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::approvals::request_types;
use super::approvals::shown::ApprovalTicket;
use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `approval:view`
    View = [ApprovalView],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list);
}

/// How many tickets there are of each urgency.
#[derive(Serialize, ToSchema)]
struct WorkbenchCounts {
    /// 0 to 3 whole days old.
    normal: u64,
    /// 4 to 6 whole days old.
    warning: u64,
    /// 7 whole days old and older.
    urgent: u64,
}

impl From<TierCounts> for WorkbenchCounts {
    fn from(counts: TierCounts) -> Self {
        let TierCounts {
            normal,
            warning,
            urgent,
        } = counts;
        Self {
            normal,
            warning,
            urgent,
        }
    }
}

/// A page of the workbench.
#[derive(Serialize, ToSchema)]
struct Workbench {
    /// Most urgent first: the oldest first.
    items: Vec<ApprovalTicket>,
    /// Of everything the filter shows, not of this page alone.
    counts: WorkbenchCounts,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    environment: Option<String>,
    /// CREATE, DELETE, ...
    operation_type: Option<String>,
    /// `normal`, `warning` or `urgent`.
    priority_tier: Option<String>,
    /// User id or user name of the requester.
    requester: Option<String>,
    namespace: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<WorkbenchFilter, Problem> {
        Ok(WorkbenchFilter {
            environment: query_value("environment", self.environment.as_deref())?,
            request_types: self.operation_type.as_deref().map(request_types).transpose()?,
            requester: self.requester.clone(),
            namespace: self.namespace.clone(),
            tier: query_value("priority_tier", self.priority_tier.as_deref())?,
        })
    }
}

/// List what waits for a decision
///
/// Pending tickets that the caller may decide, batches as one ticket each. Tickets whose policy names other approvers
/// are left out; own ones are shown and say so with `self_approval_blocked`.
#[utoipa::path(tag = "approvals", operation_id = "list_workbench", params(ListQuery), responses((status = 200, body = Workbench)))]
#[get("/admin/approvals")]
async fn list(api: web::Data<Api>, auth: Authorized<View>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let request = page(query.page, query.per_page)?;
    let (found, counts) = workbench::execute(&api.platform, &auth.caller, &query.filter()?, request).await?;
    let pagination = Pagination::of(&found);
    let now = api.platform.now();
    let items = found
        .items
        .into_iter()
        .map(|entry| ApprovalTicket::assessed(entry.ticket, entry.assessment, now))
        .collect();
    Ok(HttpResponse::Ok().json(Workbench {
        items,
        counts: counts.into(),
        pagination,
    }))
}
