//! Objects of the optional groups: made once, found, listed to the end.

use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::infrastructure::Marks;
use shepherd_domain::labels;
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::providers::ProviderError;

use crate::discovery;
use crate::errors::{MAX_TEXT, is_absent, lacks, provider_error};
use crate::machines;
pub(crate) use crate::plain::text;

/// Objects per page of a list.
const PAGE_SIZE: u32 = 500;
/// Most pages of a list that is kept in memory as a whole: nodes, storage classes, snapshots of a namespace.
const MOST_PAGES: u32 = 40;

/// A kind of a group that a cluster need not serve.
pub(crate) struct OptionalKind {
    /// API group.
    pub group: &'static str,
    /// Versions the product can speak, newest first.
    pub known: &'static [&'static str],
    /// Kind.
    pub kind: &'static str,
    /// Name in paths.
    pub plural: &'static str,
}

impl OptionalKind {
    /// The kind in the newest version both sides know, and its objects in a namespace.
    ///
    /// # Errors
    /// Unsupported when the cluster does not serve the group.
    pub(crate) async fn api(
        &self,
        client: &Client,
        namespace: &str,
    ) -> Result<(ApiResource, Api<DynamicObject>), ProviderError> {
        let version = discovery::newest(client, self.group, self.known).await?;
        let resource = machines::kind(self.group, &version, self.kind, self.plural);
        let api = Api::namespaced_with(client.clone(), namespace, &resource);
        Ok((resource, api))
    }
}

/// An object that is to be made.
pub(crate) fn new(kind: &ApiResource, namespace: &str, name: &str, marks: &Marks, spec: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, kind)
        .within(namespace)
        .data(json!({"spec": spec}));
    object.metadata.labels = Some(marks.labels.clone());
    object.metadata.annotations = Some(marks.annotations.clone());
    object
}

/// Makes an object, unless the same event has made it already; then that object is the answer.
///
/// A repetition may be refused before its name is looked at: by a webhook that finds the first one under way, or by
/// a quota that the first one used up. Whatever the refusal, the object that is there decides.
///
/// # Errors
/// AlreadyExists when the name belongs to an object of another event; else the cluster's refusal.
pub(crate) async fn make_once(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<DynamicObject, ProviderError> {
    let params = PostParams {
        field_manager: Some(labels::MANAGER.to_owned()),
        ..PostParams::default()
    };
    let refusal = match api.create(&params, object).await {
        Ok(made) => return Ok(made),
        Err(error) => provider_error(&error),
    };
    if !may_hide_repetition(&refusal) {
        return Err(refusal);
    }
    let name = object.metadata.name.as_deref().ok_or_else(|| lacks("metadata.name"))?;
    match find(api, name).await {
        Ok(Some(found)) if event_of(&found).is_some() && event_of(&found) == event_of(object) => Ok(found),
        Ok(Some(_)) => Err(ProviderError::AlreadyExists(format!(
            "{name} was not made by this request"
        ))),
        Ok(None) | Err(_) => Err(refusal),
    }
}

fn may_hide_repetition(refusal: &ProviderError) -> bool {
    match refusal {
        ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Forbidden(_)
        | ProviderError::Invalid { .. }
        | ProviderError::Quota(_) => true,
        ProviderError::NotFound(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Timeout(_)
        | ProviderError::Unreachable(_)
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_)
        | ProviderError::Unavailable(_) => false,
    }
}

/// An object; `None` when the API server says that there is none.
pub(crate) async fn find(api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, ProviderError> {
    match api.get(name).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(provider_error(&error)),
    }
}

/// All objects, in the cluster's order.
///
/// # Errors
/// Schema when the list does not end.
pub(crate) async fn pages(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, ProviderError> {
    let mut objects = Vec::new();
    let mut params = ListParams::default().limit(PAGE_SIZE);
    for _ in 0..MOST_PAGES {
        let page = api.list(&params).await.map_err(|error| provider_error(&error))?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
    Err(ProviderError::Schema("a list does not end".to_owned()))
}

/// All objects, by name.
pub(crate) async fn all(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, ProviderError> {
    let mut objects = pages(api).await?;
    objects.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(objects)
}

/// Deletes an object, if it is still the one with this uid (when one is given). Absence is success.
pub(crate) async fn delete(api: &Api<DynamicObject>, name: &str, uid: Option<&str>) -> Result<(), ProviderError> {
    let mut params = DeleteParams::default();
    if let Some(uid) = uid {
        params = params.preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
    }
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(provider_error(&error)),
    }
}

/// The event that made an object, from its annotation.
pub(crate) fn event_of(object: &DynamicObject) -> Option<String> {
    object.metadata.annotations.as_ref()?.get(labels::EVENT).cloned()
}

/// What a condition with this value says, redacted; `None` unless there is one. KubeVirt puts its words into either
/// field.
pub(crate) fn complaint(status: &Value, kind: &str, value: &str) -> Option<String> {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == kind && condition["status"] == value)?;
    let words = text(&condition["message"]).or_else(|| text(&condition["reason"]))?;
    Some(redact_and_truncate(&words, MAX_TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_the_message_or_else_the_reason() {
        let status = json!({"conditions": [
            {"type": "Ready", "status": "False", "reason": "no", "message": "not ready"},
            {"type": "Failure", "status": "True", "reason": "out of space", "message": ""},
            {"type": "Progressing", "status": "False", "reason": "Authorization: Bearer abcdefghijklmnopqrst"},
        ]});
        assert_eq!(complaint(&status, "Ready", "False").as_deref(), Some("not ready"));
        assert_eq!(complaint(&status, "Ready", "True"), None);
        assert_eq!(complaint(&status, "Failure", "True").as_deref(), Some("out of space"));
        assert_eq!(
            complaint(&status, "Progressing", "False").as_deref(),
            Some("[REDACTED]")
        );
        assert_eq!(complaint(&json!(null), "Failure", "True"), None);
    }

    #[test]
    fn a_new_object_carries_its_marks() {
        let kind = machines::kind(
            "snapshot.kubevirt.io",
            "v1beta1",
            "VirtualMachineSnapshot",
            "virtualmachinesnapshots",
        );
        let marks = Marks {
            labels: [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into(),
            annotations: [(labels::EVENT.to_owned(), "e-1".to_owned())].into(),
        };
        let object = new(&kind, "shop", "before", &marks, json!({"source": {}}));
        assert_eq!(event_of(&object).as_deref(), Some("e-1"));
        let sent = serde_json::to_value(&object).unwrap();
        assert_eq!(sent["apiVersion"], "snapshot.kubevirt.io/v1beta1");
        assert_eq!(sent["metadata"]["namespace"], "shop");
        assert_eq!(sent["metadata"]["labels"][labels::MANAGED_BY], labels::MANAGER);
        assert!(sent["spec"]["source"].is_object());
    }
}
