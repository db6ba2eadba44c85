//! Exactly one image source, in any of its spellings.

use serde_json::{Value, json};

use super::{refusal, stored, with_source};

const SHA256: &str = "c5b50f90383e7a1e23386a917eb7c6c82ca6f9c3e39b3c5d3b7c7bb9a4c5e4f3";

fn container_disk() -> Value {
    json!({"container_disk": {"image": "debian:12"}})
}

fn pvc() -> Value {
    json!({"pvc": {"namespace": "images", "name": "debian-12"}})
}

fn http(url: &str) -> Value {
    with_source(json!({"data_volume": {"source": "http", "url": url}}))
}

fn checksum(sum: &str) -> Value {
    with_source(json!({
        "data_volume": {"source": "http", "url": "https://example.com/debian.qcow2", "checksum": sum},
    }))
}

#[test]
fn every_spelling_of_a_source_becomes_the_same_one() {
    let http = json!({"data_volume": {"source": "http", "url": "https://example.com/a.img", "secret_ref": "web"}});
    for (spelling, canonical) in [
        (json!({"image": "debian:12"}), container_disk()),
        (json!({"source": {"image": "debian:12"}}), container_disk()),
        (json!({"source.image": "debian:12"}), container_disk()),
        (json!({"source": container_disk()}), container_disk()),
        (
            json!({"source.container_disk": {"image": "debian:12"}}),
            container_disk(),
        ),
        (json!({"source.container_disk.image": "debian:12"}), container_disk()),
        (json!({"image_source": {"image": "debian:12"}}), container_disk()),
        (json!({"image_source.image": "debian:12"}), container_disk()),
        (
            json!({"image_source.image": "debian:12", "image_source.pull_policy": "Never"}),
            json!({"container_disk": {"image": "debian:12", "pull_policy": "Never"}}),
        ),
        (json!({"pvc_name": "images/debian-12"}), pvc()),
        (json!({"pvc_name": "debian-12", "pvc_namespace": "images"}), pvc()),
        (json!({"image_source": {"pvc_name": "images/debian-12"}}), pvc()),
        (
            json!({"image_source": {"pvc_name": "debian-12"}, "image_source.pvc_namespace": "images"}),
            pvc(),
        ),
        (json!({"image_source.pvc_name": "images/debian-12"}), pvc()),
        (json!({"source.pvc_name": "images/debian-12"}), pvc()),
        (json!({"source": pvc()}), pvc()),
        (
            json!({"source": {"http": {"url": "https://example.com/a.img", "secret_ref": "web"}}}),
            http.clone(),
        ),
        (
            json!({"source.http.url": "https://example.com/a.img", "source.http.secret_ref": "web"}),
            http,
        ),
        (json!({"source.blank": {}}), json!({"data_volume": {"source": "blank"}})),
    ] {
        assert_eq!(stored(&spelling)["image_source"], canonical, "{spelling}");
        assert_eq!(
            stored(&spelling).as_object().map(|spec| spec.len()),
            Some(2),
            "{spelling}"
        );
    }
}

#[test]
fn a_second_source_is_refused_whatever_its_spelling() {
    for (document, path) in [
        (
            json!({"image_source": {"container_disk": {"image": "a"}, "pvc": pvc()["pvc"]}}),
            "spec.image_source.pvc",
        ),
        (
            json!({"image_source": container_disk(), "image": "debian:12"}),
            "spec.image",
        ),
        (
            json!({"image_source": container_disk(), "source": container_disk()}),
            "spec.source",
        ),
        (
            json!({"image_source": container_disk(), "pvc_name": "a/b"}),
            "spec.pvc_name",
        ),
        (
            json!({"image_source": container_disk(), "image_source.image": "b"}),
            "spec.image_source.image",
        ),
        (json!({"image": "a", "source.image": "a"}), "spec.image"),
        (
            json!({"image_source": {"image": "a"}, "image_source.image": "a"}),
            "spec.image_source.image",
        ),
        (
            json!({"image_source": "a", "image_source.image": "a"}),
            "spec.image_source.image",
        ),
    ] {
        assert_eq!(refusal(&document).0, path, "{document}");
    }
}

#[test]
fn a_missing_source_is_reported_where_it_is_missing() {
    for (document, path) in [
        (json!({}), "spec"),
        (json!(null), "spec"),
        (json!([]), "spec"),
        (json!("debian"), "spec"),
        (json!({"pvc_namespace": "images"}), "spec"),
        (with_source(json!(null)), "spec"),
        (with_source(json!({})), "spec.image_source"),
        (
            with_source(json!({"container_disk": {}})),
            "spec.image_source.container_disk",
        ),
        (with_source(json!({"pvc": {"name": "b"}})), "spec.image_source.pvc"),
        (
            with_source(json!({"data_volume": {"url": "https://example.com"}})),
            "spec.image_source.data_volume",
        ),
        (
            with_source(json!({"data_volume": {"source": "http"}})),
            "spec.image_source.data_volume",
        ),
    ] {
        assert_eq!(refusal(&document).0, path, "{document}");
    }
}

#[test]
fn a_claim_without_its_namespace_says_how_to_give_it() {
    let (path, hint) = refusal(&json!({"pvc_name": "debian-12"}));
    assert_eq!(path, "spec.pvc_name");
    assert!(hint.contains("namespace/name"), "{hint}");
    for (document, path) in [
        (
            json!({"pvc_name": "images/debian-12", "pvc_namespace": "images"}),
            "spec.pvc_namespace",
        ),
        (json!({"image": "a", "pvc_namespace": "images"}), "spec.pvc_namespace"),
        (json!({"pvc_name": "images/debian/12"}), "spec.pvc_name"),
        (json!({"pvc_name": "Images/debian"}), "spec.pvc_name"),
        (json!({"pvc_name": "/debian"}), "spec.pvc_name"),
    ] {
        assert_eq!(refusal(&document).0, path, "{document}");
    }
}

#[test]
fn an_unknown_key_comes_with_the_one_that_was_meant() {
    for (document, path, meant) in [
        (
            json!({"imageSource": container_disk()}),
            "spec.imageSource",
            "`image_source`",
        ),
        (
            with_source(json!({"containerDisk": {}})),
            "spec.image_source.containerDisk",
            "`container_disk`",
        ),
        (
            with_source(json!({"container_disk": {"image": "a", "pullPolicy": "Always"}})),
            "spec.image_source.container_disk.pullPolicy",
            "`pull_policy`",
        ),
        (
            with_source(json!({"data_volume": {"source": "blank", "check_sum": "x"}})),
            "spec.image_source.data_volume.check_sum",
            "`checksum`",
        ),
        (
            json!({"quick_fields": [], "image": "a"}),
            "spec.quick_fields",
            "beside the spec",
        ),
        (
            with_source(json!({"floppy": {}})),
            "spec.image_source.floppy",
            "data_volume",
        ),
    ] {
        let (at, hint) = refusal(&document);
        assert_eq!(at, path, "{document}");
        assert!(hint.contains(meant), "{hint}");
    }
}

#[test]
fn image_references_follow_their_grammar() {
    for image in [
        "a",
        "debian:12",
        "localhost:5000/debian",
        "quay.io/containerdisks/ubuntu:24.04",
        "registry.example.com:8443/team/sub/image__name-x.y:Tag_1.2-3",
        "[2001:db8::1]:5000/debian",
        &format!("debian@sha256:{SHA256}"),
        &format!("debian:12@sha256:{SHA256}"),
    ] {
        stored(&json!({"image": image}));
    }
    for image in [
        "",
        " ",
        " debian",
        "debian:",
        ":12",
        "Debian",
        "debian/",
        "/debian",
        "debian//12",
        "debian-/x",
        "deb..ian",
        "a___b",
        "debian:12 ",
        "debian 12",
        "debian\n",
        "https://quay.io/debian",
        "debian@sha256:abc",
        "debian@md5:d41d8cd98f00b204e9800998ecf8427e",
        "-x.example.com/debian",
        "example.com:0/debian",
        "example.com:70000/debian",
        &"a".repeat(256),
        &format!("debian:{}", "1".repeat(129)),
    ] {
        assert_eq!(refusal(&json!({"image": image})).0, "spec.image", "{image:?}");
    }
}

#[test]
fn addresses_of_images_have_the_scheme_of_their_source_and_no_credentials() {
    for url in [
        "https://example.com/debian.qcow2",
        "http://192.0.2.7:8080/a%20b?x=1&y=[2]",
        "https://[2001:db8::1]/a",
        "https://EXAMPLE.com",
    ] {
        stored(&http(url));
    }
    for url in [
        "",
        "example.com/debian",
        "ftp://example.com/a",
        "HTTPS://example.com/a",
        "https://",
        "https:///a",
        "https://user:secret@example.com/a",
        "https://example.com/a b",
        "https://example.com/a#b",
        "https://example.com/ä",
        "https://example.com/a\u{0}",
        "https://exa_mple.com/a",
        "https://[2001:db8::1/a",
        "https://example.com:/a",
        &format!("https://example.com/{}", "a".repeat(2048)),
    ] {
        assert_eq!(refusal(&http(url)).0, "spec.image_source.data_volume.url", "{url:?}");
    }
    for (source, url, accepted) in [
        ("registry", "docker://quay.io/containerdisks/debian:12", true),
        ("registry", "oci-archive:/images/debian.tar", true),
        ("registry", "https://quay.io/debian", false),
        ("registry", "docker://", false),
        ("registry", "docker://Quay/Debian", false),
        ("registry", "oci-archive://", false),
        ("s3", "s3://images/debian.qcow2", true),
        ("s3", "https://s3.example.com/images/debian.qcow2", true),
        ("s3", "docker://quay.io/debian", false),
        ("http", "s3://images/debian.qcow2", false),
    ] {
        let document = with_source(json!({"data_volume": {"source": source, "url": url}}));
        if accepted {
            stored(&document);
        } else {
            assert_eq!(refusal(&document).0, "spec.image_source.data_volume.url", "{url}");
        }
    }
}

#[test]
fn a_checksum_is_one_the_importer_can_compare() {
    let kept = |sum: &str| stored(&checksum(sum))["image_source"]["data_volume"]["checksum"].clone();
    let lower = format!("sha256:{SHA256}");
    assert_eq!(kept(&lower), json!(lower));
    assert_eq!(kept(&lower.to_uppercase()), json!(lower));
    for (algorithm, digits) in [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)] {
        let sum = format!("{algorithm}:{}", "0".repeat(digits));
        assert_eq!(kept(&sum), json!(sum));
    }
    for sum in [
        "",
        SHA256,
        "sha256:",
        "sha256:abc",
        "crc32:00000000",
        &format!("sha512:{SHA256}"),
        &format!("sha256:{}", "g".repeat(64)),
        &format!("sha256: {SHA256}"),
    ] {
        assert_eq!(
            refusal(&checksum(sum)).0,
            "spec.image_source.data_volume.checksum",
            "{sum}"
        );
    }
}

#[test]
fn a_source_has_its_own_keys_only() {
    for (source, key) in [
        (
            json!({"source": "registry", "url": "docker://debian", "checksum": "md5:0"}),
            "checksum",
        ),
        (
            json!({"source": "s3", "url": "s3://images/a", "checksum": "md5:0"}),
            "checksum",
        ),
        (json!({"source": "blank", "url": "https://example.com"}), "url"),
        (json!({"source": "blank", "name": "a"}), "name"),
        (
            json!({"source": "http", "url": "https://example.com", "namespace": "a"}),
            "namespace",
        ),
        (
            json!({"source": "pvc", "namespace": "a", "name": "b", "secret_ref": "c"}),
            "secret_ref",
        ),
        (json!({"source": "ftp", "url": "ftp://example.com"}), "source"),
        (
            json!({"source": "http", "url": "https://example.com", "secret_ref": "Not A Name"}),
            "secret_ref",
        ),
        (json!({"source": "pvc", "namespace": "a.b", "name": "b"}), "namespace"),
        (json!({"source": "pvc", "namespace": "a", "name": "b_c"}), "name"),
    ] {
        let document = with_source(json!({"data_volume": source}));
        assert_eq!(
            refusal(&document).0,
            format!("spec.image_source.data_volume.{key}"),
            "{document}"
        );
    }
    let policy = with_source(json!({"container_disk": {"image": "a", "pull_policy": "Sometimes"}}));
    assert_eq!(refusal(&policy).0, "spec.image_source.container_disk.pull_policy");
    let beside = with_source(json!({"pvc": {"namespace": "a", "name": "b"}, "pull_policy": "Always"}));
    assert_eq!(refusal(&beside).0, "spec.image_source.pull_policy");
}
