//! Which fields a form shows (catalog.md §3).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use shepherd_domain::catalog::SpecPath;
use shepherd_domain::mask::{Mask, MaskError};
use shepherd_domain::schema::VmSchema;

fn read(text: &str) -> Result<Mask, MaskError> {
    Mask::from_yaml(text, &VmSchema::baseline())
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn the_built_in_mask_names_known_paths() {
    let (mask, schema) = (Mask::default(), VmSchema::baseline());
    let paths: Vec<&str> = mask
        .quick_fields
        .iter()
        .chain(&mask.advanced_fields)
        .map(|field| field.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.template.spec.domain.cpu.cores",
            "spec.template.spec.domain.resources.requests.memory",
            "spec.template.spec.domain.devices.gpus",
            "spec.template.spec.domain.memory.hugepages.pageSize",
            "spec.template.spec.domain.cpu.dedicatedCpuPlacement",
        ]
    );
    for path in paths {
        assert!(schema.at(&SpecPath::parse(path).unwrap()).is_some(), "{path}");
    }
    assert_eq!((mask.quick_fields.len(), mask.advanced_fields.len()), (2, 3));
}

#[test]
fn a_mask_is_written_in_yaml() {
    let mask = read(
        "version: 7\nquick_fields:\n- path: spec.template.spec.domain.cpu.cores\n  display_name: CPU\n  \
         description: How many\nadvanced_fields: []\n",
    );
    let mask = mask.unwrap();
    assert_eq!((mask.version, mask.quick_fields.len()), (7, 1));
    assert_eq!(mask.quick_fields[0].description.as_deref(), Some("How many"));
    let written = serde_json::to_string(&Mask::default()).unwrap();
    assert_eq!(read(&written), Ok(Mask::default()), "JSON is YAML");
}

#[test]
fn what_is_wrong_with_a_mask_is_named() {
    let field = |path: &str| format!("version: 1\nadvanced_fields:\n- {{path: {path}, display_name: A}}\n");
    assert_eq!(
        refusal(&field("spec.template.spec.domain.cpu.coers")),
        "advanced_fields: spec.template.spec.domain.cpu.coers is not a known path; \
         perhaps spec.template.spec.domain.cpu.cores is meant"
    );
    assert_eq!(
        refusal(&field("spec.zzz")),
        "advanced_fields: spec.zzz is not a known path"
    );
    assert_eq!(
        refusal(&field("\"spec..x\"")),
        "advanced_fields: spec..x is not a known path"
    );
    let twice = format!(
        "{}- {{path: spec.runStrategy, display_name: A}}\n",
        field("spec.runStrategy")
    );
    assert_eq!(refusal(&twice), "advanced_fields: spec.runStrategy stands there twice");
    let nameless = "version: 1\nquick_fields:\n- {path: spec.runStrategy, display_name: ' '}\n";
    assert_eq!(refusal(nameless), "quick_fields: spec.runStrategy has no display_name");
    for syntax in [
        "",
        "version: one",
        "quick_fields: []",
        "version: 1\nmore: 2",
        "version: 1\nquick_fields: [{path: spec.runStrategy}]",
    ] {
        assert!(matches!(read(syntax), Err(MaskError::Syntax(_))), "{syntax}");
    }
    let many: String = (0..101)
        .map(|_| "- {path: spec.runStrategy, display_name: A}\n")
        .collect();
    assert_eq!(
        refusal(&format!("version: 1\nquick_fields:\n{many}")),
        "quick_fields: at most 100 fields"
    );
}
