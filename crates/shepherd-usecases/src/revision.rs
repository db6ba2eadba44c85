//! Revisions of machines: what was applied, by whom and why, and what lies between two of them (catalog.md §6).
//!
//! Whoever sees a machine sees its revisions. Documents are shown without what looks like a secret.

use std::io::Read as _;

use serde_json::Value;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::VmId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::revision::{self, Change, DamagedDocument};
use shepherd_ports::context::Caller;
use shepherd_ports::revisions::RevisionRecord;

use crate::{Platform, UseCaseError, vm};

/// Most bytes of a document; an API server takes objects of 1.5 MiB at most.
const MAX_DOCUMENT: u64 = 8 << 20;

/// A revision as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What is said about it.
    pub record: RevisionRecord,
    /// Its document, masked.
    pub yaml: String,
}

/// Revisions of a machine, newest first.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND.
pub async fn list(
    platform: &Platform,
    caller: &Caller,
    vm: VmId,
    page: PageRequest,
) -> Result<Page<RevisionRecord>, UseCaseError> {
    let vm = visible(platform, caller, vm).await?;
    Ok(platform.read.list_revisions(vm, page).await?)
}

/// One revision with its document.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, REVISION_NOT_FOUND.
pub async fn get(platform: &Platform, caller: &Caller, vm: VmId, number: i32) -> Result<Shown, UseCaseError> {
    let vm = visible(platform, caller, vm).await?;
    let (record, document) = read(platform, vm, number).await?;
    let yaml = revision::masked_yaml(&document).map_err(damaged)?;
    Ok(Shown { record, yaml })
}

/// What changed from one revision to another, by path.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, REVISION_NOT_FOUND.
pub async fn diff(
    platform: &Platform,
    caller: &Caller,
    vm: VmId,
    from: i32,
    to: i32,
) -> Result<Vec<Change>, UseCaseError> {
    let vm = visible(platform, caller, vm).await?;
    let (_, before) = read(platform, vm, from).await?;
    let (_, after) = read(platform, vm, to).await?;
    Ok(revision::diff(&before, &after))
}

async fn visible(platform: &Platform, caller: &Caller, id: VmId) -> Result<VmId, UseCaseError> {
    let seen = vm::visible(platform, caller, Permission::VmRead, ResourceAction::View, id).await?;
    Ok(seen.id)
}

async fn read(platform: &Platform, vm: VmId, number: i32) -> Result<(RevisionRecord, Value), UseCaseError> {
    let found = platform.read.get_revision(vm, number).await?;
    let stored = found.ok_or_else(|| Problem::not_found(ErrorCode::RevisionNotFound, number))?;
    let document = revision::parse(&decompressed(&stored.snapshot)?).map_err(damaged)?;
    Ok((stored.record, document))
}

fn damaged(_: DamagedDocument) -> UseCaseError {
    UseCaseError::Broken("a stored revision is damaged")
}

/// The text of a snapshot. However little was stored, no more than a document is unpacked.
fn decompressed(snapshot: &[u8]) -> Result<String, UseCaseError> {
    let broken = |_| UseCaseError::Broken("a stored revision cannot be unpacked");
    let decoder = zstd::Decoder::new(snapshot).map_err(broken)?;
    let mut text = String::new();
    decoder
        .take(MAX_DOCUMENT + 1)
        .read_to_string(&mut text)
        .map_err(broken)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= MAX_DOCUMENT) {
        Ok(text)
    } else {
        Err(UseCaseError::Broken("a stored revision is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_is_read_again() {
        let text = "kind: VirtualMachine\n";
        let packed = zstd::encode_all(text.as_bytes(), 0).unwrap();
        assert_eq!(decompressed(&packed).unwrap(), text);
    }

    #[test]
    fn damaged_snapshots_are_errors() {
        let packed = zstd::encode_all(&b"kind: VirtualMachine"[..], 0).unwrap();
        for damaged in [&b""[..], b"not zstd", &packed[..packed.len() - 3]] {
            assert!(decompressed(damaged).is_err(), "{damaged:?}");
        }
        let binary = zstd::encode_all(&[0xff_u8, 0xfe][..], 0).unwrap();
        assert!(decompressed(&binary).is_err());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let endless = std::io::repeat(b' ').take(MAX_DOCUMENT * 4);
        let packed = zstd::encode_all(endless, 0).unwrap();
        assert!(packed.len() < 64 * 1024);
        assert!(decompressed(&packed).is_err());
    }
}
