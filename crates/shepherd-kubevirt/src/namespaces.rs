//! Namespaces: whether one exists, and making those that the platform owns.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use shepherd_domain::{Environment, labels};
use shepherd_ports::providers::{EnsuredNamespace, ProviderError};

use crate::errors::{is_absent, provider_error};

/// Whether a namespace exists.
pub(crate) async fn exists(client: &Client, name: &str) -> Result<bool, ProviderError> {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get(name).await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(provider_error(&error)),
    }
}

/// Makes the namespace unless it exists. One that exists is left as it is: the platform labels only its own.
pub(crate) async fn ensure(
    client: &Client,
    name: &str,
    environment: Environment,
    now: DateTime<Utc>,
) -> Result<EnsuredNamespace, ProviderError> {
    if exists(client, name).await? {
        return Ok(EnsuredNamespace::Existed);
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let params = PostParams {
        field_manager: Some(labels::MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api
        .create(&params, &namespace(name, environment, now))
        .await
        .map_err(|error| provider_error(&error))
    {
        Ok(_) => Ok(EnsuredNamespace::Created),
        // Another replica was faster.
        Err(ProviderError::AlreadyExists(_)) => Ok(EnsuredNamespace::Existed),
        Err(error) => Err(error),
    }
}

fn namespace(name: &str, environment: Environment, now: DateTime<Utc>) -> Namespace {
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([
                entry(labels::MANAGED_BY, labels::MANAGER),
                entry(labels::ENVIRONMENT, environment.as_str()),
            ])),
            annotations: Some(BTreeMap::from([entry(
                labels::CREATED_AT,
                &now.to_rfc3339_opts(SecondsFormat::Secs, true),
            )])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
