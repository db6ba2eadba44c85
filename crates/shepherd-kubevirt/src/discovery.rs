//! Which versions of an optional API group a cluster serves.
//!
//! Nothing is remembered: a group that is installed or upgraded is used by the next call.

use kube::Client;
use shepherd_ports::providers::ProviderError;

use crate::errors::provider_error;

/// The first version of `known`, which is newest first, that the cluster serves.
///
/// The list of all groups is asked for, because a group that is missing from it is proof, while a 404 below the
/// group's own path may come from anything in between.
///
/// # Errors
/// Unsupported, naming the group, when it is not served or in unknown versions only; else whatever kept the list from
/// being read.
pub(crate) async fn newest(client: &Client, group: &str, known: &[&str]) -> Result<String, ProviderError> {
    let list = client.list_api_groups().await.map_err(|error| provider_error(&error))?;
    let served: Vec<&str> = list
        .groups
        .iter()
        .filter(|found| found.name == group)
        .flat_map(|found| &found.versions)
        .map(|found| found.version.as_str())
        .collect();
    choose(group, &served, known)
}

fn choose(group: &str, served: &[&str], known: &[&str]) -> Result<String, ProviderError> {
    if served.is_empty() {
        return Err(ProviderError::Unsupported(format!(
            "the cluster does not serve {group}"
        )));
    }
    let newest = known.iter().find(|version| served.contains(version));
    newest
        .map(|version| (*version).to_owned())
        .ok_or_else(|| ProviderError::Unsupported(format!("the cluster serves {group} in unknown versions only")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "snapshot.kubevirt.io";
    const KNOWN: [&str; 2] = ["v1beta1", "v1alpha1"];

    #[test]
    fn the_newest_common_version_is_used() {
        for (served, chosen) in [
            (&["v1alpha1", "v1beta1"][..], "v1beta1"),
            (&["v1alpha1"][..], "v1alpha1"),
            (&["v2", "v1beta1"][..], "v1beta1"),
        ] {
            assert_eq!(choose(GROUP, served, &KNOWN), Ok(chosen.to_owned()), "{served:?}");
        }
    }

    #[test]
    fn an_absent_group_is_named() {
        for served in [vec![], vec!["v2"]] {
            let refusal = choose(GROUP, &served, &KNOWN);
            assert!(
                matches!(&refusal, Err(ProviderError::Unsupported(why)) if why.contains(GROUP)),
                "{refusal:?}"
            );
        }
    }
}
