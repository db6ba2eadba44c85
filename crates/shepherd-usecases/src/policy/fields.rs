//! Limits of what a policy is made of, and whether it may be what it is.

use std::fmt::Display;

use shepherd_domain::ids::UserId;
use shepherd_domain::policy::{MAX_DESCRIPTION, MAX_LIST, MAX_NAME, MAX_PRIORITY, Matchers, admit};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::policies::{PolicyContent, PolicyReferences};

use crate::{Platform, UseCaseError};

/// Collects what is wrong with a request, so that all of it is answered at once.
#[derive(Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    pub(super) fn name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.0.push(FieldError::new("name", FieldCode::Required));
        } else if name.chars().count() > MAX_NAME {
            self.0
                .push(FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME));
        } else if name.trim() != name || name.chars().any(char::is_control) {
            self.0.push(FieldError::new("name", FieldCode::InvalidFormat));
        }
    }

    pub(super) fn description(&mut self, description: &str) {
        if description.chars().count() > MAX_DESCRIPTION {
            self.0
                .push(FieldError::new("description", FieldCode::TooLong).with("max_length", MAX_DESCRIPTION));
        }
    }

    pub(super) fn priority(&mut self, priority: i32) {
        if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&priority) {
            self.0.push(
                FieldError::new("priority", FieldCode::OutOfRange)
                    .with("min", -MAX_PRIORITY)
                    .with("max", MAX_PRIORITY),
            );
        }
    }

    /// Lists that match nothing, or are too long to be looked through at every request; limits that nothing can be
    /// within.
    pub(super) fn matchers(&mut self, matchers: &Matchers) {
        let lengths = [
            ("namespaces", matchers.namespaces.as_ref().map(Vec::len)),
            ("system_ids", matchers.system_ids.as_ref().map(Vec::len)),
            ("service_ids", matchers.service_ids.as_ref().map(Vec::len)),
            ("template_names", matchers.template_names.as_ref().map(Vec::len)),
            ("instance_size_ids", matchers.instance_size_ids.as_ref().map(Vec::len)),
            ("requester_ids", matchers.requester_ids.as_ref().map(Vec::len)),
            ("requester_roles", matchers.requester_roles.as_ref().map(Vec::len)),
        ];
        for (name, length) in lengths {
            let field = format!("matchers.{name}");
            match length {
                Some(0) => self.0.push(FieldError::new(field, FieldCode::Required)),
                Some(length) if length > MAX_LIST => self
                    .0
                    .push(FieldError::new(field, FieldCode::TooLong).with("max_items", MAX_LIST)),
                Some(_) | None => {}
            }
        }
        let limits = [
            ("max_cpu_cores", matchers.max_cpu_cores),
            ("max_memory_mb", matchers.max_memory_mb),
            ("max_disk_gb", matchers.max_disk_gb),
        ];
        for (name, limit) in limits {
            if limit.is_some_and(|limit| limit < 1) {
                let field = format!("matchers.{name}");
                self.0
                    .push(FieldError::new(field, FieldCode::OutOfRange).with("min", 1));
            }
        }
    }

    pub(super) fn approvers(&mut self, approvers: &[String]) {
        if approvers.len() > MAX_LIST {
            self.0
                .push(FieldError::new("approvers", FieldCode::TooLong).with("max_items", MAX_LIST));
        }
    }

    /// NOT_FOUND for whatever leads nowhere, in those of the two that are given.
    pub(super) async fn references(
        &mut self,
        platform: &Platform,
        matchers: Option<&Matchers>,
        approvers: Option<&[String]>,
    ) -> Result<(), UseCaseError> {
        let wanted = matchers.cloned().unwrap_or_default();
        let references = PolicyReferences {
            systems: wanted.system_ids.unwrap_or_default(),
            services: wanted.service_ids.unwrap_or_default(),
            sizes: wanted.instance_size_ids.unwrap_or_default(),
            users: wanted.requester_ids.unwrap_or_default(),
            roles: wanted.requester_roles.unwrap_or_default(),
            approvers: approvers.map(<[String]>::to_vec).unwrap_or_default(),
        };
        let missing = platform.read.missing_references(&references).await?;
        self.lost("matchers.system_ids", &references.systems, &missing.systems);
        self.lost("matchers.service_ids", &references.services, &missing.services);
        self.lost("matchers.instance_size_ids", &references.sizes, &missing.sizes);
        self.lost("matchers.requester_ids", &references.users, &missing.users);
        self.lost("matchers.requester_roles", &references.roles, &missing.roles);
        self.lost("approvers", &references.approvers, &missing.approvers);
        Ok(())
    }

    fn lost(&mut self, field: &str, given: &[impl Display], missing: &[String]) {
        for (index, reference) in given.iter().enumerate() {
            if missing.contains(&reference.to_string()) {
                self.0
                    .push(FieldError::new(format!("{field}[{index}]"), FieldCode::NotFound));
            }
        }
    }

    /// # Errors
    /// VALIDATION_FAILED with all findings.
    pub(super) fn end(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.0))
        }
    }
}

/// Approvers as they are compared: ids of users as the platform writes them.
pub(super) fn normal_approvers(approvers: Vec<String>) -> Vec<String> {
    approvers
        .into_iter()
        .map(|approver| approver.parse::<UserId>().map_or(approver, |id| id.to_string()))
        .collect()
}

/// POLICY_NOT_ALLOWED{reason} for what no policy can do; whether it may approve in prod depends on the configuration.
pub(super) fn check_allowed(content: &PolicyContent, allow_prod_auto_approval: bool) -> Result<(), Problem> {
    let admitted = admit(
        content.operation,
        content.environment,
        content.requires_approval,
        content.external_system_id.is_some(),
        allow_prod_auto_approval,
    );
    admitted.map_err(|reason| Problem::new(ErrorCode::PolicyNotAllowed).with("reason", reason.as_str()))
}

/// What the store says to a policy that cannot be saved.
pub(super) fn refused(error: RepositoryError, content: &PolicyContent) -> UseCaseError {
    if error.is_unique("uq_approval_policies_name") {
        let problem = Problem::new(ErrorCode::PolicyNameExists);
        return problem.with("name", content.name.as_str()).into();
    }
    match content.external_system_id {
        Some(id) if error.is_foreign_key("fk_approval_policies_external_system_id") => {
            Problem::not_found(ErrorCode::ExternalSystemNotFound, id).into()
        }
        Some(_) | None => error.into(),
    }
}
