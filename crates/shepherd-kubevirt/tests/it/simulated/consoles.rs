//! Consoles of a guest that is known: what it says, and what becomes of its viewers when something goes wrong.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{ConsoleConnection, ConsoleProvider, InfrastructureProvider, ProviderError};
use shepherd_simulator::{FaultEffect, FaultRule, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NAME, NAMESPACE, apply, exists, start};
use crate::documents::Plan;
use crate::lab::{CLUSTER, eventually, provider};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing has to come for a stream to count as standing still.
const SILENCE: Duration = Duration::from_millis(200);

async fn running() -> (Simulator, Arc<KubeVirtProvider>) {
    let (simulator, provider) = start().await;
    apply(&provider, Plan::new(NAMESPACE, NAME).running()).await;
    let ask = &provider;
    eventually("the machine runs", move || async move {
        let found = ask.get_vm(CLUSTER, NAMESPACE, NAME).await;
        matches!(found, Ok(Some(vm)) if vm.condition == ObservedCondition::Is(VmStatus::Running))
    })
    .await;
    (simulator, provider)
}

async fn screen(provider: &KubeVirtProvider) -> Result<ConsoleConnection, ProviderError> {
    provider.get_vnc_connection(CLUSTER, NAMESPACE, NAME).await
}

async fn serial_line(provider: &KubeVirtProvider) -> ConsoleConnection {
    let opened = provider.get_serial_console(CLUSTER, NAMESPACE, NAME).await;
    opened.expect("the serial line can be opened")
}

async fn refusal(provider: &KubeVirtProvider) -> ProviderError {
    screen(provider).await.err().expect("the screen cannot be opened")
}

async fn take(console: &mut ConsoleConnection, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let read = tokio::time::timeout(PATIENCE, console.read_exact(&mut bytes)).await;
    read.expect("the console speaks in time").expect("the console speaks");
    bytes
}

/// Reads until the console has said something, which is forgotten with all before it.
async fn wait_for(console: &mut ConsoleConnection, text: &str) {
    let mut said = Vec::new();
    while !said.ends_with(text.as_bytes()) {
        said.extend(take(console, 1).await);
    }
}

async fn say(console: &mut ConsoleConnection, bytes: &[u8]) {
    console.write_all(bytes).await.expect("the console listens");
    console.flush().await.expect("the console listens");
}

/// Everything up to the end, however it ends.
async fn rest(console: &mut ConsoleConnection) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, console.read_to_end(&mut bytes)).await;
    read.expect("the console ends in time").map(|_| bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serial_line_echoes_and_hangs_up() {
    let (_simulator, provider) = running().await;
    let mut line = serial_line(&provider).await;
    wait_for(&mut line, "web-01:~# ").await;
    say(&mut line, b"echo tea\r").await;
    wait_for(&mut line, "echo tea\r\ntea\r\n").await;
    say(&mut line, b"exit\r").await;
    let last = rest(&mut line).await.expect("a goodbye is no error");
    assert!(last.ends_with(b"logout\r\n"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_gets_whole_pictures() {
    let (_simulator, provider) = running().await;
    let mut viewer = screen(&provider).await.expect("the screen can be opened");
    assert_eq!(take(&mut viewer, 12).await, b"RFB 003.008\n");
    say(&mut viewer, b"RFB 003.008\n").await;
    assert_eq!(take(&mut viewer, 2).await, [1, 1]);
    say(&mut viewer, &[1, 1]).await;
    assert_eq!(take(&mut viewer, 4).await, [0; 4]);
    assert_eq!(take(&mut viewer, 24).await[..4], [1, 64, 0, 200], "320 by 200");
    take(&mut viewer, "shop/web-01".len()).await;
    let whole_picture = [3, 0, 0, 0, 0, 0, 1, 64, 0, 200];
    // Larger than every buffer on the way.
    let length = 16 + 320 * 200 * 4;
    say(&mut viewer, &whole_picture).await;
    let before = take(&mut viewer, length).await;
    let key_x = [4, 1, 0, 0, 0, 0, 0, b'x'];
    say(&mut viewer, &[key_x.as_slice(), whole_picture.as_slice()].concat()).await;
    let after = take(&mut viewer, length).await;
    assert_ne!(before, after, "the key left its mark");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_hold_no_permits_and_do_not_disturb_each_other() {
    let (simulator, _) = running().await;
    let limits = CallLimits {
        permit_wait: Duration::from_millis(500),
        concurrency: 1,
        ..CallLimits::default()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    let mut first = serial_line(&provider).await;
    let mut second = serial_line(&provider).await;
    assert_eq!(exists(&provider).await, Ok(true));
    for line in [&mut first, &mut second] {
        wait_for(line, "web-01:~# ").await;
    }
    drop(first);
    say(&mut second, b"hostname\r").await;
    wait_for(&mut second, "\r\nweb-01\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_hangs_times_out_and_gives_its_permit_back() {
    let (simulator, _) = running().await;
    let limits = CallLimits {
        call_timeout: Duration::from_secs(10),
        permit_wait: Duration::from_secs(20),
        concurrency: 1,
        ..CallLimits::default()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    simulator
        .faults()
        .inject(FaultRule::next(1, "GET", "/vnc", FaultEffect::Hang));
    let refusal = refusal(&provider).await;
    assert!(matches!(refusal, ProviderError::Timeout(_)), "{refusal:?}");
    assert!(screen(&provider).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_has_not_ended() {
    let (simulator, provider) = running().await;
    let mut line = serial_line(&provider).await;
    wait_for(&mut line, "web-01:~# ").await;
    simulator.faults().drop_streams();
    assert!(rest(&mut line).await.is_err());
    simulator.faults().inject(FaultRule::next(
        1,
        "GET",
        "/console",
        FaultEffect::DropStream { after_bytes: 10 },
    ));
    let mut line = serial_line(&provider).await;
    assert!(rest(&mut line).await.is_err(), "ten bytes hold no whole message");
    let mut line = serial_line(&provider).await;
    wait_for(&mut line, "web-01:~# ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_stands_still_goes_on() {
    let (simulator, provider) = running().await;
    let mut line = serial_line(&provider).await;
    wait_for(&mut line, "web-01:~# ").await;
    simulator.faults().stall_streams(true);
    say(&mut line, b"hostname\r").await;
    let silence = tokio::time::timeout(SILENCE, line.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    simulator.faults().stall_streams(false);
    wait_for(&mut line, "hostname\r\nweb-01\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_is_wrong() {
    let (simulator, provider) = running().await;
    let faults = simulator.faults();
    for (code, reason) in [(429, "TooManyRequests"), (503, "ServiceUnavailable")] {
        faults.inject(FaultRule::next(1, "GET", "/vnc", FaultEffect::status(code, reason)));
        let refusal = refusal(&provider).await;
        let fits = match code {
            429 => matches!(refusal, ProviderError::Throttled { .. }),
            _ => matches!(refusal, ProviderError::Unreachable(_)),
        };
        assert!(fits, "{code}: {refusal:?}");
    }
    faults.refuse("get", "virtualmachineinstances/vnc");
    assert!(matches!(refusal(&provider).await, ProviderError::Forbidden(_)));
    faults.allow("get", "virtualmachineinstances/vnc");
    assert!(screen(&provider).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_still_starting_has_no_screen_yet() {
    let (simulator, provider) = start().await;
    simulator.faults().freeze_vm(NAMESPACE, NAME);
    apply(&provider, Plan::new(NAMESPACE, NAME).running()).await;
    let starting = json!({
        "metadata": {"namespace": NAMESPACE, "name": NAME},
        "spec": {},
        "status": {"phase": "Scheduled"},
    });
    simulator.cluster().put("VirtualMachineInstance", starting);
    let refusal = refusal(&provider).await;
    assert!(
        matches!(&refusal, ProviderError::Invalid { message, .. } if message == "VMI is not running"),
        "{refusal:?}"
    );
}
