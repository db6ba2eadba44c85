//! Power: KubeVirt's actions, which only write down what is wanted; its controllers do the rest.
//!
//! They are subresources of machines (start, stop, restart) and of their instances (pause, unpause). An action that
//! the machine's state does not allow is a Conflict, an instance that is not there NotFound.

use kube::Client;
use kube::api::PostParams;
use kube::core::request::Request;
use kube::core::{ApiResource, DynamicObject, Resource};
use shepherd_ports::providers::ProviderError;

use crate::errors::provider_error;
use crate::machines::kind;

/// Group of the actions.
const GROUP: &str = "subresources.kubevirt.io";

/// What is done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a stopped machine.
    Start,
    /// Shut a machine down.
    Stop,
    /// Replace the instance of a running machine.
    Restart,
    /// Freeze a running instance.
    Pause,
    /// Let a frozen instance go on.
    Unpause,
}

impl Action {
    /// Last step of the path.
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
        }
    }

    /// What it acts on.
    fn resource(self) -> ApiResource {
        match self {
            Self::Start | Self::Stop | Self::Restart => kind(GROUP, "v1", "VirtualMachine", "virtualmachines"),
            Self::Pause | Self::Unpause => kind(GROUP, "v1", "VirtualMachineInstance", "virtualmachineinstances"),
        }
    }
}

/// Asks for an action. The answer has no body, and comes before anything has happened.
pub(crate) async fn act(client: &Client, namespace: &str, name: &str, action: Action) -> Result<(), ProviderError> {
    let path = DynamicObject::url_path(&action.resource(), Some(namespace));
    let request = Request::new(path)
        .replace_subresource(action.name(), name, &PostParams::default(), b"{}".to_vec())
        .map_err(|error| provider_error(&kube::Error::BuildRequest(error)))?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(provider_error(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_subresources_of_machines_or_instances() {
        let path = |action: Action| DynamicObject::url_path(&action.resource(), Some("shop"));
        for action in [Action::Start, Action::Stop, Action::Restart] {
            assert_eq!(
                path(action),
                "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines"
            );
        }
        for action in [Action::Pause, Action::Unpause] {
            assert_eq!(
                path(action),
                "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances"
            );
        }
    }
}
