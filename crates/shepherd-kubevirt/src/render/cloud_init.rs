//! Guest initialisation: a Secret beside the machine and the volume that reads it.
//!
//! Both are there when the template has data for its guests or wants them to begin with a one-time password. Whether
//! that password is at hand changes what the Secret says and never the machine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use shepherd_domain::catalog::CloudInit;
use shepherd_domain::rendering::RenderInput;

use super::{metadata, user_data};

/// Name of the volume and its disk.
pub(super) const VOLUME: &str = "cloudinit";
/// What a guest without user data of its own is told: NoCloud does not look at network data alone.
const NO_USER_DATA: &str = "#cloud-config\n";

/// The volume, when the guest is initialised.
pub(super) fn volume(input: &RenderInput<'_>) -> Option<Value> {
    if !is_wanted(input) {
        return None;
    }
    let secret = json!({"name": secret_name(input)});
    let mut source = Map::from_iter([("secretRef".to_owned(), secret.clone())]);
    if network_data(input).is_some() {
        source.insert("networkDataSecretRef".to_owned(), secret);
    }
    Some(json!({"name": VOLUME, "cloudInitNoCloud": source}))
}

/// The Secret, when the guest is initialised. It gets its owner when the machine has a uid.
pub(super) fn secret(input: &RenderInput<'_>) -> Option<Value> {
    if !is_wanted(input) {
        return None;
    }
    let user_data = user_data_of(input).unwrap_or(NO_USER_DATA);
    let password = input.guest_password.filter(|_| input.template.guest.initial_password);
    let user_data = password.map_or_else(
        || user_data.to_owned(),
        |password| user_data::with_password(user_data, password),
    );
    let mut data = Map::from_iter([("userdata".to_owned(), Value::from(STANDARD.encode(user_data)))]);
    if let Some(network_data) = network_data(input) {
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

fn is_wanted(input: &RenderInput<'_>) -> bool {
    input.template.guest.initial_password || user_data_of(input).is_some() || network_data(input).is_some()
}

fn user_data_of<'a>(input: &RenderInput<'a>) -> Option<&'a str> {
    template(input)?.user_data.as_deref()
}

fn network_data<'a>(input: &RenderInput<'a>) -> Option<&'a str> {
    template(input)?.network_data.as_deref()
}

fn template<'a>(input: &RenderInput<'a>) -> Option<&'a CloudInit> {
    input.template.cloud_init.as_ref()
}

fn secret_name(input: &RenderInput<'_>) -> String {
    format!("{}-cloudinit", input.identity.name)
}
