//! What the guest is told at its first boot. The platform checks that it can be read and leaves the rest to the guest:
//! keys in these documents are not those of a template.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reader::{Node, Object};
use crate::problem::Problem;

/// What user data begins with. `#cloud-config-archive` and scripts are other formats, into which no password can be
/// merged.
const HEADER: &str = "#cloud-config";
/// Most bytes of user data and network data. Both go into one Secret, which holds 1 MiB.
const MAX_USER_DATA: usize = 64 * 1024;
const MAX_NETWORK_DATA: usize = 16 * 1024;

/// Bounds of the YAML parser: far above what a guest is told, far below what would occupy the platform.
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 20_000;
const MAX_ANCHORS: usize = 100;

/// cloud-init documents, at least one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudInit {
    /// `#cloud-config` YAML, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Network configuration YAML, at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<String>,
}

/// Reads the cloud-init documents of a spec; `None` when there are none.
pub(super) fn read(node: &Node<'_>) -> Result<Option<CloudInit>, Problem> {
    let object = node.object(&["user_data", "network_data"])?;
    let cloud_init = CloudInit {
        user_data: user_data(&object)?,
        network_data: object
            .optional("network_data")
            .map(|node| document(&node, MAX_NETWORK_DATA))
            .transpose()?,
    };
    Ok((cloud_init != CloudInit::default()).then_some(cloud_init))
}

fn user_data(object: &Object<'_>) -> Result<Option<String>, Problem> {
    let Some(node) = object.optional("user_data") else {
        return Ok(None);
    };
    if node.any_text()?.lines().next().map(str::trim_end) != Some(HEADER) {
        return Err(node.refused("must begin with a line `#cloud-config`: other formats are not supported"));
    }
    document(&node, MAX_USER_DATA).map(Some)
}

/// A YAML mapping of at most so many bytes.
fn document(node: &Node<'_>, max_bytes: usize) -> Result<String, Problem> {
    let text = node.any_text()?;
    if text.len() > max_bytes {
        return Err(node.refused(&format!("must not be larger than {} KiB", max_bytes / 1024)));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(node.refused("must not hold control characters other than line ends and tabs"));
    }
    match mapping(text) {
        Ok(true) => Ok(text.to_owned()),
        Ok(false) => Err(node.refused("must be a YAML mapping with at least one key")),
        Err(line) => {
            let place = line.map(|line| format!(": see line {line}")).unwrap_or_default();
            Err(node.refused(&format!("must be YAML that can be read, one document{place}")))
        }
    }
}

/// Whether the text is a YAML mapping; else the line at which it stops being YAML, when that is known. The parser's
/// own words may quote the document, which may hold secrets.
fn mapping(text: &str) -> Result<bool, Option<u64>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_anchors: MAX_ANCHORS,
            max_aliases: MAX_ANCHORS,
            max_merge_keys: MAX_ANCHORS,
            // Long comments are good documentation; the bound of the whole text is bound enough.
            max_buffered_comment_events: MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        // Files may be written into the guest as `!!binary`; nobody decodes them here.
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Value>(text, options)
        .map(|value| value.is_object())
        .map_err(|error| error.location().map(|location| location.line()))
}
