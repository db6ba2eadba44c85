//! The size as a machine sees it: processors, memory, devices, firmware.

use serde_json::{Map, Value, json};
use shepherd_domain::catalog::Firmware;
use shepherd_domain::rendering::RenderInput;

/// The size layer.
pub(super) fn size(input: &RenderInput<'_>) -> Value {
    let mut domain = Map::new();
    domain.insert("cpu".to_owned(), cpu(input));
    domain.insert("memory".to_owned(), memory(input));
    domain.insert("resources".to_owned(), resources(input));
    if !input.size.gpu_devices.is_empty() {
        let gpus: Vec<Value> = input
            .size
            .gpu_devices
            .iter()
            .map(|gpu| json!({"name": gpu.name, "deviceName": gpu.device_name}))
            .collect();
        domain.insert("devices".to_owned(), json!({"gpus": gpus}));
    }
    json!({"spec": {"template": {"spec": {"domain": domain}}}})
}

/// How the guest boots. Secure boot is off, because KubeVirt refuses it without system management mode.
pub(super) fn firmware(firmware: Firmware) -> Value {
    match firmware {
        Firmware::Bios => json!({"bootloader": {"bios": {}}}),
        Firmware::Efi => json!({"bootloader": {"efi": {"secureBoot": false}}}),
    }
}

fn cpu(input: &RenderInput<'_>) -> Value {
    let mut cpu = json!({"cores": input.numbers.cpu_cores, "sockets": 1, "threads": 1});
    if input.size.dedicated_cpu {
        cpu["dedicatedCpuPlacement"] = Value::from(true);
    }
    cpu
}

fn memory(input: &RenderInput<'_>) -> Value {
    let mut memory = json!({"guest": mebibytes(input.numbers.memory_mb)});
    if let Some(page_size) = input
        .size
        .hugepages_size
        .as_deref()
        .filter(|_| input.size.requires_hugepages)
    {
        memory["hugepages"] = json!({"pageSize": page_size});
    }
    memory
}

/// Requests never exceed limits, and equal them where processors are dedicated: KubeVirt refuses anything else.
fn resources(input: &RenderInput<'_>) -> Value {
    let numbers = input.numbers;
    let request = |asked: i32, limit: i32| {
        if input.size.dedicated_cpu {
            limit
        } else {
            asked.min(limit)
        }
    };
    json!({
        "limits": {
            "cpu": numbers.cpu_cores.to_string(),
            "memory": mebibytes(numbers.memory_mb),
        },
        "requests": {
            "cpu": request(numbers.cpu_request, numbers.cpu_cores).to_string(),
            "memory": mebibytes(request(numbers.memory_request_mb, numbers.memory_mb)),
        },
    })
}

fn mebibytes(count: i32) -> String {
    format!("{count}Mi")
}
