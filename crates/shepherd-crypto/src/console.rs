//! Tokens for consoles: the envelope of a column as URL-safe text, under a subkey of its own.
//!
//! The machine stands between nonce and ciphertext, readable and authenticated: a token that was carried to another
//! machine still opens, so that whoever checks it can tell that apart from a forgery.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shepherd_domain::ids::VmId;
use shepherd_ports::crypto::{CipherError, ConsoleSealer};
use zeroize::Zeroizing;

use crate::envelope::{Envelope, header};
use crate::key_ring::{KeyRing, open_body, seal_after};
use crate::random::random_bytes;

/// Bytes of the id of a machine.
const VM_LEN: usize = 16;
/// More text than a token has; longer ones are not looked at.
const MAX_TEXT: usize = 4096;

/// What a token is authenticated with: that it is one, and its machine.
fn associated_data(vm: &[u8; VM_LEN]) -> Vec<u8> {
    [b"shepherd-vnc".as_slice(), vm].concat()
}

impl ConsoleSealer for KeyRing {
    fn seal_token(&self, vm: VmId, claims: &[u8]) -> Result<Zeroizing<String>, CipherError> {
        let key = self.active();
        let nonce = random_bytes()?;
        let vm = vm.as_uuid().into_bytes();
        let mut bytes = header(&key.id, &nonce);
        bytes.extend(vm);
        let sealed = Zeroizing::new(seal_after(&key.vnc, nonce, bytes, &associated_data(&vm), claims)?);
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(&sealed[..])))
    }

    fn open_token(&self, token: &str) -> Result<(VmId, Zeroizing<Vec<u8>>), CipherError> {
        if token.len() > MAX_TEXT {
            return Err(CipherError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| CipherError::Malformed)?;
        let envelope = Envelope::parse(&bytes).ok_or(CipherError::Malformed)?;
        let (vm, body) = envelope
            .body
            .split_first_chunk::<VM_LEN>()
            .ok_or(CipherError::Malformed)?;
        let key = self.find(envelope.key_id)?;
        let claims = open_body(&key.vnc, envelope.nonce, &associated_data(vm), body)?;
        Ok((VmId::from_bits(u128::from_be_bytes(*vm)), claims))
    }
}

#[cfg(test)]
mod tests {
    use shepherd_ports::crypto::{Cipher as _, KeyStore as _, SealedPlace, StoredKey};

    use super::*;
    use crate::master_key::MasterKey;

    const VM: VmId = VmId::from_bits(0x0198_3f0e_7c1e_7aa0_8000_2f6d_2c1d_9a10);
    const CLAIMS: &[u8] = br#"{"aud":"vnc"}"#;

    fn ring() -> KeyRing {
        KeyRing::new(MasterKey::from_slice(&[7; 32]).unwrap())
    }

    #[test]
    fn a_token_opens_to_its_machine_and_claims_and_never_looks_the_same() {
        let ring = ring();
        let token = ring.seal_token(VM, CLAIMS).unwrap();
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        );
        let (vm, claims) = ring.open_token(&token).unwrap();
        assert_eq!((vm, claims.as_slice()), (VM, CLAIMS));
        assert_ne!(token, ring.seal_token(VM, CLAIMS).unwrap());
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed_or_left_out() {
        let ring = ring();
        let token = ring.seal_token(VM, CLAIMS).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(&changed);
            assert!(ring.open_token(&text).is_err(), "byte {index} was changed");
            let text = URL_SAFE_NO_PAD.encode(&bytes[..index]);
            assert!(ring.open_token(&text).is_err(), "the end from {index} on is missing");
        }
        for garbage in ["", "=", "ä", "a.b.c", &"A".repeat(5000)] {
            assert_eq!(ring.open_token(garbage).unwrap_err(), CipherError::Malformed);
        }
    }

    #[test]
    fn what_was_sealed_for_a_column_is_no_token() {
        let ring = ring();
        let place = SealedPlace {
            table: "clusters",
            column: "encrypted_kubeconfig",
            row: VM.to_string(),
        };
        let sealed = ring.seal(&place, &[0; 64]).unwrap();
        let text = URL_SAFE_NO_PAD.encode(sealed.bytes);
        assert_eq!(ring.open_token(&text).unwrap_err(), CipherError::Rejected);
    }

    #[test]
    fn a_retired_key_still_opens_and_one_that_is_gone_does_not() {
        let ring = ring();
        let first = ring.seal_token(VM, CLAIMS).unwrap();
        let newer = ring.generate().unwrap();
        ring.install(std::slice::from_ref(&newer)).unwrap();
        let second = ring.seal_token(VM, CLAIMS).unwrap();
        assert!(ring.open_token(&first).is_ok() && ring.open_token(&second).is_ok());

        let newest = ring.generate().unwrap();
        let retired = StoredKey {
            active: false,
            ..newer.clone()
        };
        ring.install(&[retired, newest.clone()]).unwrap();
        assert!(ring.open_token(&second).is_ok(), "retired");
        ring.install(&[newest]).unwrap();
        assert_eq!(
            ring.open_token(&second).unwrap_err(),
            CipherError::UnknownKey(newer.key_id)
        );
    }
}
