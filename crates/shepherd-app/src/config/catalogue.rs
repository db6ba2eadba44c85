//! Keys about what machines are made of: schemas and the mask of forms.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shepherd_domain::mask::Mask;
use shepherd_domain::schema::VmSchema;
use shepherd_usecases::settings::SchemaSettings;

/// `schema.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaConfig {
    /// How long one attempt to fetch the schema of a cluster may take.
    #[serde(with = "humantime_serde")]
    pub fetch_timeout: Duration,
    /// Retries, after 30, 60 and 120 seconds; after as many failures the administrators are told.
    pub fetch_retries: u32,
    /// Whether sizes and templates are validated again when a cluster has another version.
    pub validation_on_version_change: bool,
}

impl Default for SchemaConfig {
    fn default() -> Self {
        Self {
            fetch_timeout: Duration::from_secs(30),
            fetch_retries: 3,
            validation_on_version_change: true,
        }
    }
}

impl SchemaConfig {
    pub(super) fn settings(&self) -> SchemaSettings {
        SchemaSettings {
            fetch_timeout: self.fetch_timeout,
            fetch_retries: self.fetch_retries,
            validate_on_version_change: self.validation_on_version_change,
        }
    }

    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require(self.fetch_retries <= 10, "schema.fetch_retries: at most 10");
    }
}

/// `mask.*`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskConfig {
    /// File of the mask; the built-in one without it.
    pub file: Option<PathBuf>,
}

impl MaskConfig {
    /// The mask of the file, or the built-in one.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file: it cannot be read, is not a mask, or names an unknown path.
    pub fn load(&self) -> Result<Arc<Mask>, String> {
        let Some(file) = &self.file else {
            return Ok(Arc::default());
        };
        let say = |what: String| format!("mask.file: {}: {what}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| say(error.to_string()))?;
        let mask = Mask::from_yaml(&text, &VmSchema::baseline()).map_err(|error| say(error.to_string()))?;
        Ok(Arc::new(mask))
    }

    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        if let Err(finding) = self.load() {
            require(false, &finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> Result<Arc<Mask>, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mask.yaml");
        std::fs::write(&file, text).unwrap();
        MaskConfig { file: Some(file) }.load()
    }

    #[test]
    fn a_mask_that_names_an_unknown_path_stops_the_start() {
        let refusal =
            mask("version: 2\nquick_fields:\n- {path: spec.template.spec.domain.cpu.coers, display_name: CPU}\n");
        let refusal = refusal.unwrap_err();
        assert!(refusal.starts_with("mask.file: "), "{refusal}");
        assert!(
            refusal.contains("perhaps spec.template.spec.domain.cpu.cores is meant"),
            "{refusal}"
        );
    }

    #[test]
    fn a_mask_is_read_from_its_file() {
        let mask =
            mask("version: 2\nquick_fields:\n- {path: spec.template.spec.domain.cpu.cores, display_name: CPU}\n");
        let mask = mask.unwrap();
        assert_eq!(
            (mask.version, mask.quick_fields.len(), mask.advanced_fields.len()),
            (2, 1, 0)
        );
    }

    #[test]
    fn an_error_names_the_place_and_repeats_no_line() {
        let refusal = mask("version: 2\nquick_fields:\n- {path: [unclosed, a-secret\n").unwrap_err();
        assert!(refusal.contains("line 4") || refusal.contains("line 3"), "{refusal}");
        assert!(!refusal.contains("a-secret"), "{refusal}");
    }

    #[test]
    fn without_a_file_the_mask_is_built_in() {
        assert_eq!(*MaskConfig::default().load().unwrap(), Mask::default());
        let missing = MaskConfig {
            file: Some(PathBuf::from("/nowhere/mask.yaml")),
        };
        let mut findings = Vec::new();
        missing.findings(&mut |holds, finding: &str| {
            if !holds {
                findings.push(finding.to_owned());
            }
        });
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}
