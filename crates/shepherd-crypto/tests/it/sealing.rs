//! Sealing and opening, and every way in which opening must fail.

use proptest::prelude::*;
use shepherd_crypto::{KeyRing, MasterKey};
use shepherd_ports::crypto::{Cipher, CipherError, KeyStore, SealedPlace, StoredKey};

/// Version, key id, nonce and tag.
const OVERHEAD: usize = 1 + 8 + 12 + 16;
const OLD_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NEW_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

fn key(text: &str) -> MasterKey {
    match MasterKey::from_base64(text) {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    }
}

fn ring() -> KeyRing {
    KeyRing::new(key(NEW_KEY))
}

fn kubeconfig_of(row: &str) -> SealedPlace {
    SealedPlace {
        table: "clusters",
        column: "kubeconfig",
        row: row.to_owned(),
    }
}

#[test]
fn a_sealed_value_names_its_key_and_hides_its_content() {
    let sealed = ring().seal(&kubeconfig_of("1"), b"apiVersion: v1").unwrap();
    assert_eq!(sealed.key_id, key(NEW_KEY).id());
    assert_eq!(sealed.bytes[0], 1);
    assert_eq!(&sealed.bytes[1..9], sealed.key_id.as_bytes());
    assert_eq!(sealed.bytes.len(), OVERHEAD + 14);
    assert!(!sealed.bytes.windows(10).any(|window| window == b"apiVersion"));
}

#[test]
fn the_same_value_is_never_sealed_the_same_way_twice() {
    let ring = ring();
    let place = kubeconfig_of("1");
    assert_ne!(
        ring.seal(&place, b"value").unwrap().bytes,
        ring.seal(&place, b"value").unwrap().bytes
    );
}

#[test]
fn a_value_that_was_moved_is_refused() {
    let ring = ring();
    let sealed = ring.seal(&kubeconfig_of("12"), b"value").unwrap().bytes;
    for elsewhere in [
        kubeconfig_of("13"),
        SealedPlace {
            column: "other",
            ..kubeconfig_of("12")
        },
        SealedPlace {
            table: "other",
            ..kubeconfig_of("12")
        },
        // The same text in the same order, cut elsewhere.
        SealedPlace {
            table: "clusterskubeconfig",
            column: "",
            row: "12".to_owned(),
        },
        SealedPlace {
            table: "clusters",
            column: "kubeconfig1",
            row: "2".to_owned(),
        },
    ] {
        assert_eq!(
            ring.open(&elsewhere, &sealed).unwrap_err(),
            CipherError::Rejected,
            "{elsewhere:?}"
        );
    }
}

#[test]
fn a_retired_key_opens_and_no_longer_seals() {
    let place = kubeconfig_of("1");
    let ring = ring();
    let by_root = ring.seal(&place, b"value").unwrap();
    let first = ring.generate().unwrap();
    assert_eq!(
        ring.active_id(),
        ring.root_id(),
        "a key that is not installed is not used"
    );
    ring.install(std::slice::from_ref(&first)).unwrap();
    let by_first = ring.seal(&place, b"value").unwrap();
    assert_eq!(by_first.key_id, first.key_id);
    let second = ring.generate().unwrap();
    let retired = StoredKey { active: false, ..first };
    ring.install(&[retired, second.clone()]).unwrap();
    assert_eq!(ring.seal(&place, b"value").unwrap().key_id, second.key_id);
    for sealed in [by_root, by_first.clone()] {
        assert_eq!(*ring.open(&place, &sealed.bytes).unwrap(), b"value");
    }
    ring.install(&[second]).unwrap();
    assert_eq!(
        ring.open(&place, &by_first.bytes).unwrap_err(),
        CipherError::UnknownKey(by_first.key_id),
        "a removed key opens nothing"
    );
}

#[test]
fn stored_keys_open_under_their_own_installation_only() {
    let stored = ring().generate().unwrap();
    let other = KeyRing::new(key(OLD_KEY));
    assert_eq!(
        other.install(std::slice::from_ref(&stored)).unwrap_err(),
        CipherError::UnknownKey(key(NEW_KEY).id().to_owned())
    );
    assert_eq!(other.active_id(), other.root_id(), "nothing has changed");
    let renamed = StoredKey {
        key_id: "00000000".to_owned(),
        ..stored.clone()
    };
    assert_eq!(ring().install(&[renamed]).unwrap_err(), CipherError::Rejected);
    let moved = StoredKey {
        material: Some(ring().rewrap(&stored, &key(OLD_KEY)).unwrap()),
        ..stored
    };
    other.install(&[moved]).unwrap();
}

#[test]
fn a_key_that_is_not_loaded_is_named() {
    let place = kubeconfig_of("1");
    let sealed = KeyRing::new(key(OLD_KEY)).seal(&place, b"value").unwrap();
    let error = ring().open(&place, &sealed.bytes).unwrap_err();
    assert_eq!(error, CipherError::UnknownKey(key(OLD_KEY).id().to_owned()));
}

#[test]
fn a_printed_ring_shows_key_ids_only() {
    assert_eq!(format!("{:?}", ring()), format!("[{:?}]", key(NEW_KEY).id()));
}

proptest! {
    #[test]
    fn what_is_sealed_can_be_opened_in_its_place(value: Vec<u8>, row in ".*") {
        let ring = ring();
        let place = kubeconfig_of(&row);
        let sealed = ring.seal(&place, &value).unwrap();
        prop_assert_eq!(sealed.bytes.len(), value.len() + OVERHEAD);
        prop_assert_eq!(ring.open(&place, &sealed.bytes).unwrap().to_vec(), value);
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is(value: Vec<u8>, at: prop::sample::Index, change in 1u8..) {
        let ring = ring();
        let place = kubeconfig_of("1");
        let mut sealed = ring.seal(&place, &value).unwrap().bytes;
        let at = at.index(sealed.len());
        sealed[at] ^= change;
        prop_assert!(ring.open(&place, &sealed).is_err(), "byte {at} of {}", sealed.len());
    }

    #[test]
    fn a_cut_or_extended_envelope_is_refused(value: Vec<u8>, at: prop::sample::Index, more in any::<u8>()) {
        let ring = ring();
        let place = kubeconfig_of("1");
        let mut sealed = ring.seal(&place, &value).unwrap().bytes;
        prop_assert!(ring.open(&place, &sealed[..at.index(sealed.len())]).is_err());
        sealed.push(more);
        prop_assert!(ring.open(&place, &sealed).is_err());
    }

    #[test]
    fn garbage_is_refused_without_a_panic(garbage: Vec<u8>) {
        prop_assert!(ring().open(&kubeconfig_of("1"), &garbage).is_err());
    }
}
