//! `volumes`, and the templates of the data volumes a machine owns.

use crate::schema::node::Node;

pub(super) fn volume() -> Node {
    Node::object([
        ("cloudInitConfigDrive", cloud_init()),
        ("cloudInitNoCloud", cloud_init()),
        (
            "configMap",
            Node::object([
                ("name", Node::string()),
                ("optional", Node::boolean()),
                ("volumeLabel", Node::string()),
            ]),
        ),
        ("containerDisk", container_disk()),
        (
            "dataVolume",
            Node::object([("hotpluggable", Node::boolean()), ("name", Node::string())]),
        ),
        ("emptyDisk", Node::object([("capacity", Node::quantity())])),
        ("name", Node::string()),
        (
            "persistentVolumeClaim",
            Node::object([
                ("claimName", Node::string()),
                ("hotpluggable", Node::boolean()),
                ("readOnly", Node::boolean()),
            ]),
        ),
        (
            "secret",
            Node::object([
                ("optional", Node::boolean()),
                ("secretName", Node::string()),
                ("volumeLabel", Node::string()),
            ]),
        ),
        ("serviceAccount", Node::object([("serviceAccountName", Node::string())])),
        ("sysprep", Node::object([("configMap", named()), ("secret", named())])),
    ])
}

fn named() -> Node {
    Node::object([("name", Node::string())])
}

fn container_disk() -> Node {
    Node::object(["image", "imagePullPolicy", "imagePullSecret", "path"].map(|key| (key, Node::string())))
}

fn cloud_init() -> Node {
    Node::object([
        ("networkData", Node::string()),
        ("networkDataBase64", Node::string()),
        ("networkDataSecretRef", named()),
        ("secretRef", named()),
        ("userData", Node::string()),
        ("userDataBase64", Node::string()),
    ])
}

/// One entry of `dataVolumeTemplates`.
pub(super) fn data_volume_template() -> Node {
    Node::object([
        ("apiVersion", Node::string()),
        ("kind", Node::string()),
        ("metadata", Node::map(Node::any())),
        (
            "spec",
            Node::object([
                ("contentType", Node::string()),
                ("preallocation", Node::boolean()),
                ("priorityClassName", Node::string()),
                ("pvc", claim()),
                ("source", source()),
                ("sourceRef", reference()),
                ("storage", claim()),
            ]),
        ),
    ])
}

/// What `pvc` and `storage` have in common.
fn claim() -> Node {
    let resources = Node::object([
        ("limits", Node::map(Node::quantity())),
        ("requests", Node::map(Node::quantity())),
    ]);
    Node::object([
        ("accessModes", Node::list(Node::string())),
        ("resources", resources),
        ("storageClassName", Node::string()),
        ("volumeMode", Node::string()),
        ("volumeName", Node::string()),
    ])
}

fn reference() -> Node {
    Node::object(["kind", "name", "namespace"].map(|key| (key, Node::string())))
}

fn source() -> Node {
    let place = || Node::object(["name", "namespace"].map(|key| (key, Node::string())));
    let http = Node::object([
        ("certConfigMap", Node::string()),
        ("extraHeaders", Node::list(Node::string())),
        ("secretExtraHeaders", Node::list(Node::string())),
        ("secretRef", Node::string()),
        ("url", Node::string()),
    ]);
    let registry = Node::object(
        ["certConfigMap", "imageStream", "pullMethod", "secretRef", "url"].map(|key| (key, Node::string())),
    );
    let s3 = Node::object(["certConfigMap", "secretRef", "url"].map(|key| (key, Node::string())));
    Node::object([
        ("blank", Node::object([])),
        ("http", http),
        ("pvc", place()),
        ("registry", registry),
        ("s3", s3),
        ("snapshot", place()),
        ("upload", Node::object([])),
    ])
}
