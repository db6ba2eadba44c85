//! Namespaces: whether one exists, and making those that the platform owns.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use shepherd_domain::ids::EventId;
use shepherd_domain::{Environment, labels};
use shepherd_ports::providers::{EnsuredNamespace, ProviderError};

use crate::errors::{is_absent, provider_error};

/// Whether a namespace exists.
pub(crate) async fn exists(client: &Client, name: &str) -> Result<bool, ProviderError> {
    Ok(find(&Api::all(client.clone()), name).await?.is_some())
}

/// Makes the namespace unless it exists. One that exists is left as it is: the platform labels only its own.
pub(crate) async fn ensure(
    client: &Client,
    name: &str,
    environment: Environment,
    event: Option<EventId>,
    now: DateTime<Utc>,
) -> Result<EnsuredNamespace, ProviderError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let event = event.map(|event| event.to_string());
    if let Some(found) = find(&api, name).await? {
        return Ok(found_for(&found, event.as_deref()));
    }
    let params = PostParams {
        field_manager: Some(labels::MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api
        .create(&params, &namespace(name, environment, event.as_deref(), now))
        .await
        .map_err(|error| provider_error(&error))
    {
        Ok(_) => Ok(EnsuredNamespace::Created),
        // Another replica was faster.
        Err(ProviderError::AlreadyExists(_)) => {
            let found = find(&api, name).await?;
            Ok(found.map_or(EnsuredNamespace::Existed, |found| found_for(&found, event.as_deref())))
        }
        Err(error) => Err(error),
    }
}

async fn find(api: &Api<Namespace>, name: &str) -> Result<Option<Namespace>, ProviderError> {
    match api.get(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(provider_error(&error)),
    }
}

/// What a namespace that is there is to the event that asks for it: an attempt that died may have made it.
fn found_for(found: &Namespace, event: Option<&str>) -> EnsuredNamespace {
    let annotations = found.metadata.annotations.as_ref();
    let made_for = annotations.and_then(|annotations| annotations.get(labels::EVENT));
    if event.is_some() && made_for.map(String::as_str) == event {
        EnsuredNamespace::Created
    } else {
        EnsuredNamespace::Existed
    }
}

fn namespace(name: &str, environment: Environment, event: Option<&str>, now: DateTime<Utc>) -> Namespace {
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let created_at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut annotations = BTreeMap::from([entry(labels::CREATED_AT, &created_at)]);
    annotations.extend(event.map(|event| entry(labels::EVENT, event)));
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([
                entry(labels::MANAGED_BY, labels::MANAGER),
                entry(labels::ENVIRONMENT, environment.as_str()),
            ])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
