//! Guest initialisation: a Secret beside the machine and the volume that reads it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use shepherd_domain::catalog::CloudInit;
use shepherd_domain::rendering::RenderInput;

use super::metadata;

/// Name of the volume and its disk.
pub(super) const VOLUME: &str = "cloudinit";
/// What a guest with network data alone is told: NoCloud does not look at the one without the other.
const NO_USER_DATA: &str = "#cloud-config\n";

/// The volume, when the template initialises its guest.
pub(super) fn volume(input: &RenderInput<'_>) -> Option<Value> {
    let cloud_init = present(input)?;
    let secret = json!({"name": secret_name(input)});
    let mut source = Map::from_iter([("secretRef".to_owned(), secret.clone())]);
    if cloud_init.network_data.is_some() {
        source.insert("networkDataSecretRef".to_owned(), secret);
    }
    Some(json!({"name": VOLUME, "cloudInitNoCloud": source}))
}

/// The Secret, when the template initialises its guest. It gets its owner when the machine has a uid.
pub(super) fn secret(input: &RenderInput<'_>) -> Option<Value> {
    let cloud_init = present(input)?;
    let user_data = cloud_init.user_data.as_deref().unwrap_or(NO_USER_DATA);
    let mut data = Map::from_iter([("userdata".to_owned(), Value::from(STANDARD.encode(user_data)))]);
    if let Some(network_data) = &cloud_init.network_data {
        data.insert("networkdata".to_owned(), Value::from(STANDARD.encode(network_data)));
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(input),
            "namespace": input.identity.namespace,
            "labels": metadata::labels(input.identity),
        },
        "type": "Opaque",
        "data": data,
    }))
}

fn present<'a>(input: &RenderInput<'a>) -> Option<&'a CloudInit> {
    input
        .template
        .cloud_init
        .as_ref()
        .filter(|cloud_init| cloud_init.user_data.is_some() || cloud_init.network_data.is_some())
}

fn secret_name(input: &RenderInput<'_>) -> String {
    format!("{}-cloudinit", input.identity.name)
}
