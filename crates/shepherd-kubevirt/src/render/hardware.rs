//! The size as a machine sees it: processors, memory, devices, firmware.

use serde_json::{Map, Value, json};
use shepherd_domain::catalog::Firmware;
use shepherd_domain::rendering::RenderInput;

/// The columns of the size that nobody changes for a single machine.
pub(super) fn size(input: &RenderInput<'_>) -> Value {
    let size = input.size;
    let mut domain = Map::from_iter([("cpu".to_owned(), topology(size.dedicated_cpu))]);
    if let Some(page_size) = size.hugepages_size.as_deref().filter(|_| size.requires_hugepages) {
        domain.insert("memory".to_owned(), json!({"hugepages": {"pageSize": page_size}}));
    }
    if !size.gpu_devices.is_empty() {
        let gpus: Vec<Value> = size
            .gpu_devices
            .iter()
            .map(|gpu| json!({"name": gpu.name, "deviceName": gpu.device_name}))
            .collect();
        domain.insert("devices".to_owned(), json!({"gpus": gpus}));
    }
    of_domain(&Value::Object(domain))
}

/// The numbers that were approved. They come after the overrides of the size, so that an override of the same path
/// cannot win over an approver.
///
/// Requests never exceed limits, and equal them where processors are dedicated: KubeVirt refuses anything else.
pub(super) fn numbers(input: &RenderInput<'_>) -> Value {
    let numbers = input.numbers;
    let request = |asked: i32, limit: i32| {
        if input.size.dedicated_cpu {
            limit
        } else {
            asked.min(limit)
        }
    };
    of_domain(&json!({
        "cpu": {"cores": numbers.cpu_cores},
        "memory": {"guest": mebibytes(numbers.memory_mb)},
        "resources": {
            "limits": {
                "cpu": numbers.cpu_cores.to_string(),
                "memory": mebibytes(numbers.memory_mb),
            },
            "requests": {
                "cpu": request(numbers.cpu_request, numbers.cpu_cores).to_string(),
                "memory": mebibytes(request(numbers.memory_request_mb, numbers.memory_mb)),
            },
        },
    }))
}

/// How the guest boots. Secure boot is off, because KubeVirt refuses it without system management mode.
pub(super) fn firmware(firmware: Firmware) -> Value {
    match firmware {
        Firmware::Bios => json!({"bootloader": {"bios": {}}}),
        Firmware::Efi => json!({"bootloader": {"efi": {"secureBoot": false}}}),
    }
}

/// All cores in one socket: some guests are licensed by the socket.
fn topology(dedicated: bool) -> Value {
    let mut cpu = json!({"sockets": 1, "threads": 1});
    if dedicated {
        cpu["dedicatedCpuPlacement"] = Value::from(true);
    }
    cpu
}

fn of_domain(domain: &Value) -> Value {
    json!({"spec": {"template": {"spec": {"domain": domain}}}})
}

fn mebibytes(count: i32) -> String {
    format!("{count}Mi")
}
