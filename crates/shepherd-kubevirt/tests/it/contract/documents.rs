//! Golden documents: what is sent is what is stored, whole and unchanged.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use shepherd_domain::rendering::VmDocument;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError};

use crate::documents::differences;
use crate::golden::{self, Golden};
use crate::lab::{CLUSTER, Subject};

pub async fn golden_documents_come_back_unpruned(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut problems = Vec::new();
    // Checksums have a case of their own, because there are clusters that do not know them.
    let documents = golden::all()
        .into_iter()
        .filter(|golden| golden.name != golden::CHECKSUM);
    for (number, golden) in documents.enumerate() {
        let (golden, name) = placed(golden, &subject, number);
        let document = golden.document();
        match create(&subject, &document).await {
            Ok(()) => {
                let found = lost(&subject, &name, &document).await;
                problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", golden.name)));
            }
            Err(ProviderError::Invalid { message, .. } | ProviderError::Forbidden(message))
                if lacks(&golden).is_some() && message.contains("admission webhook") =>
            {
                let reason = lacks(&golden).unwrap_or_default();
                eprintln!("left out {}, because {reason}: {message}", golden.name);
            }
            Err(error) => problems.push(format!("{}: {error}", golden.name)),
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

pub async fn a_checksum_is_kept_or_refused(subject: Subject) {
    let subject = subject.with_namespace().await;
    let golden = golden::all().into_iter().find(|golden| golden.name == golden::CHECKSUM);
    let (golden, name) = placed(golden.expect("a document with a checksum"), &subject, 0);
    let document = golden.document();
    match create(&subject, &document).await {
        Ok(()) => assert_eq!(lost(&subject, &name, &document).await, Vec::<String>::new()),
        Err(ProviderError::Invalid { message, .. }) => {
            assert!(message.contains("checksum"), "{message}");
            let stored = subject.machines().get_opt(&name).await.expect("machines can be read");
            assert!(stored.is_none(), "nothing is imported unchecked");
            eprintln!(
                "refused {}, because the cluster's machines know no checksums",
                golden.name
            );
        }
        Err(error) => panic!("{error}"),
    }
}

/// The document in the namespace of the case, under a name of its own. Where there are controllers the machine stays
/// off: guests that start would change it, and take what the cluster has.
fn placed(golden: Golden, subject: &Subject, number: usize) -> (Golden, String) {
    let name = format!("golden-{number:02}");
    let mut golden = golden.named(&subject.namespace, &name);
    if subject.offer.controllers {
        golden.run_strategy = "Halted";
    }
    (golden, name)
}

async fn create(subject: &Subject, document: &VmDocument) -> Result<(), ProviderError> {
    let applied = subject.provider.apply_vm(CLUSTER, document, ApplyMode::Persist).await;
    applied.map(|_| ())
}

/// What was sent and is not there, or not as it was sent. The metadata that a server adds is no loss. Where nothing but
/// the API server acts on machines, nothing is added to their spec either.
async fn lost(subject: &Subject, name: &str, document: &VmDocument) -> Vec<String> {
    let stored = subject.stored(name).await;
    let mut lost = differences(&document.object, &stored);
    if !subject.offer.controllers && stored["spec"] != document.object["spec"] {
        lost.extend(differences(&stored["spec"], &document.object["spec"]));
        lost.push("the spec is not the one that was sent".to_owned());
    }
    if let Some(sent) = &document.cloud_init {
        let secrets: Api<Secret> = Api::namespaced(subject.client.clone(), &subject.namespace);
        let secret = sent["metadata"]["name"].as_str().unwrap_or_default();
        let stored = secrets.get(secret).await.expect("the Secret is stored");
        let stored = serde_json::to_value(stored).expect("a Secret is JSON");
        lost.extend(differences(sent, &stored));
        if stored["data"] != sent["data"] {
            lost.push("the data of the Secret are not those that were sent".to_owned());
        }
    }
    lost
}

/// What a cluster with KubeVirt need not have, so that its webhook may refuse the document.
fn lacks(golden: &Golden) -> Option<&'static str> {
    if !golden.size.gpu_devices.is_empty() {
        return Some("GPUs are switched off");
    }
    let templates = golden.object()["spec"]["dataVolumeTemplates"].take();
    let mut sources = templates
        .as_array()
        .into_iter()
        .flatten()
        .map(|template| &template["spec"]["source"]);
    sources
        .any(|source| source["pvc"].is_object())
        .then_some("there is no volume to copy")
}
