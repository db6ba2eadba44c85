//! What a modification gives a machine (requests.md §6 and §7).

use proptest::prelude::*;
use serde_json::json;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, VmId};
use shepherd_domain::problem::ErrorCode;
use shepherd_domain::spec::{EffectiveNumbers, ModifySpec, check_growth};

use crate::sizes;

fn spec(disk_gb: Option<i32>, cpu_cores: Option<i32>) -> ModifySpec {
    ModifySpec {
        vm_id: VmId::from_bits(1),
        service_id: ServiceId::from_bits(2),
        namespace: "prod-shop".to_owned(),
        instance_size_id: InstanceSizeId::from_bits(3),
        disk_gb,
        cpu_cores,
        memory_mb: None,
        cpu_request: None,
        memory_request_mb: None,
    }
}

#[test]
fn a_size_brings_its_numbers_and_leaves_the_disk() {
    // 4 cores, 8 GiB and 100 GiB of disk.
    let size = sizes::size_of(|_| {});
    let numbers = EffectiveNumbers::of_modification(&spec(None, None), &size, Some(240));
    assert_eq!((numbers.cpu_cores, numbers.memory_mb, numbers.disk_gb), (4, 8192, 240));
    let unknown = EffectiveNumbers::of_modification(&spec(None, None), &size, None);
    assert_eq!(unknown.disk_gb, 100);
}

#[test]
fn explicit_numbers_win() {
    let size = sizes::size_of(|draft| draft.cpu_request = Some(2));
    let numbers = EffectiveNumbers::of_modification(&spec(Some(300), Some(1)), &size, Some(240));
    assert_eq!((numbers.cpu_cores, numbers.cpu_request, numbers.disk_gb), (1, 1, 300));
}

#[test]
fn unknown_keys_and_missing_required_ones_are_refused() {
    let whole = json!({
        "vm_id": VmId::from_bits(1), "service_id": ServiceId::from_bits(2), "namespace": "prod-shop",
        "instance_size_id": InstanceSizeId::from_bits(3), "disk_gb": 300,
    });
    assert_eq!(
        serde_json::from_value::<ModifySpec>(whole.clone()).unwrap(),
        spec(Some(300), None)
    );
    for field in ["vm_id", "service_id", "namespace", "instance_size_id"] {
        let mut without = whole.clone();
        without.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<ModifySpec>(without).is_err(), "{field}");
    }
    let mut other = whole;
    other["template_id"] = json!("x");
    assert!(serde_json::from_value::<ModifySpec>(other).is_err());
}

proptest! {
    #[test]
    fn a_disk_never_shrinks(current in prop::option::of(1..1_000_i32), requested in 1..1_000_i32) {
        let refusal = check_growth(current, requested).err();
        prop_assert_eq!(refusal.is_some(), current.is_some_and(|current| requested < current));
        if let Some(refusal) = refusal {
            prop_assert_eq!(refusal.code, ErrorCode::DiskShrinkNotAllowed);
            prop_assert_eq!(&refusal.params["current_disk_gb"], &json!(current));
            prop_assert_eq!(&refusal.params["requested_disk_gb"], &json!(requested));
        }
    }
}
