//! Machines, page by page.

use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{ListedVm, VmPage};
use shepherd_ports::providers::{ListOptions, ProviderError};

use crate::errors::provider_error;
use crate::machines::{machine_kind, machines};
use crate::mapping;
use crate::plain::pairs;

/// One page of machines, in the cluster's order: by namespace, then by name.
///
/// All pages of a list show the state at its first page, whatever happens in between. The machines are not merged
/// with their instances, so node and address are missing. A machine that cannot be read is left out with a warning.
///
/// # Errors
/// Conflict when the continue token is too old: the list has to be started over without one.
pub(crate) async fn list_vms(
    client: &Client,
    cluster: ClusterId,
    options: &ListOptions,
) -> Result<VmPage, ProviderError> {
    let api: Api<DynamicObject> = match &options.namespace {
        Some(namespace) => machines(client, namespace),
        None => Api::all_with(client.clone(), &machine_kind()),
    };
    let page = api.list(&params(options)).await.map_err(|error| refusal(&error))?;
    let items = page.items.iter().filter_map(|object| listed(cluster, object)).collect();
    Ok(VmPage {
        items,
        continue_token: page.metadata.continue_.filter(|token| !token.is_empty()),
        resource_version: page.metadata.resource_version,
    })
}

fn params(options: &ListOptions) -> ListParams {
    ListParams {
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        limit: options.limit,
        continue_token: options.continue_token.clone(),
        ..ListParams::default()
    }
}

/// An expired token is routine for a list that took long, so it must not look like a cluster that is out of reach.
fn refusal(error: &kube::Error) -> ProviderError {
    if matches!(error, kube::Error::Api(status) if status.code == 410) {
        return ProviderError::Conflict("the continue token is too old; the list has to be started over".to_owned());
    }
    provider_error(error)
}

fn listed(cluster: ClusterId, object: &DynamicObject) -> Option<ListedVm> {
    match mapping::observe(object, None) {
        Ok(vm) => Some(ListedVm {
            vm,
            labels: pairs(object.metadata.labels.as_ref()),
        }),
        Err(error) => {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(%cluster, namespace, name, %error, "a machine was left out of a list");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expired_token_is_a_conflict_and_nothing_else_is() {
        let error =
            |code: u16, reason: &str| kube::Error::Api(Box::new(Status::failure("why", reason).with_code(code)));
        assert!(matches!(refusal(&error(410, "Expired")), ProviderError::Conflict(_)));
        assert!(matches!(refusal(&error(403, "Forbidden")), ProviderError::Forbidden(_)));
    }

    #[test]
    fn a_machine_that_cannot_be_read_is_left_out() {
        let cluster = ClusterId::from_bits(1);
        let object = |metadata: serde_json::Value| -> DynamicObject {
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let whole = json!({
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": {"app": "shop"},
        });
        let found = listed(cluster, &object(whole)).unwrap();
        assert_eq!((found.vm.name.as_str(), found.labels["app"].as_str()), ("web", "shop"));
        assert_eq!(
            listed(cluster, &object(json!({"name": "web", "namespace": "shop"}))),
            None
        );
    }
}
