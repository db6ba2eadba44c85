//! Consoles.

use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_ports::providers::{ConsoleConnection, ConsoleProvider, InfrastructureProvider, ProviderError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::documents::Plan;
use crate::lab::{CLUSTER, PATIENCE, Subject};

const NAME: &str = "web-01";

async fn running(subject: Subject) -> Subject {
    let subject = subject.with_namespace().await;
    subject.start(NAME).await;
    subject
}

async fn screen(subject: &Subject) -> Result<ConsoleConnection, ProviderError> {
    subject
        .provider
        .get_vnc_connection(CLUSTER, &subject.namespace, NAME)
        .await
}

async fn serial_line(subject: &Subject) -> Result<ConsoleConnection, ProviderError> {
    subject
        .provider
        .get_serial_console(CLUSTER, &subject.namespace, NAME)
        .await
}

/// Opens the screen and reads what every VNC server says first.
async fn greeted(subject: &Subject) -> ConsoleConnection {
    let mut screen = opened(screen(subject).await);
    let mut greeting = [0; 12];
    let read = tokio::time::timeout(PATIENCE, screen.read_exact(&mut greeting)).await;
    read.expect("the screen greets in time").expect("the screen greets");
    assert_eq!(&greeting, b"RFB 003.008\n");
    screen
}

fn opened(outcome: Result<ConsoleConnection, ProviderError>) -> ConsoleConnection {
    outcome.expect("the console can be opened")
}

fn refused(outcome: Result<ConsoleConnection, ProviderError>) -> ProviderError {
    match outcome {
        Ok(_) => panic!("the console can be opened"),
        Err(error) => error,
    }
}

pub async fn a_screen_greets(subject: Subject) {
    let subject = running(subject).await;
    let mut screen = greeted(&subject).await;
    // Version, then the offered kinds of security: at least one.
    screen.write_all(b"RFB 003.008\n").await.expect("the screen listens");
    screen.flush().await.expect("the screen listens");
    let kinds = tokio::time::timeout(PATIENCE, screen.read_u8()).await;
    let kinds = kinds.expect("the screen answers in time").expect("the screen answers");
    assert!(kinds > 0);
}

pub async fn a_serial_line_can_be_opened(subject: Subject) {
    let subject = running(subject).await;
    let mut line = opened(serial_line(&subject).await);
    // What a guest answers is its own affair; that it hears and can be left is not.
    line.write_all(b"\r").await.expect("the line listens");
    line.flush().await.expect("the line listens");
    line.shutdown().await.expect("the line can be left");
}

pub async fn a_second_viewer_is_let_in(subject: Subject) {
    let subject = running(subject).await;
    // KubeVirt shows the screen to the later one only; the first is not asked.
    let first = greeted(&subject).await;
    let second = greeted(&subject).await;
    drop((first, second));
}

pub async fn a_dropped_screen_can_be_opened_again(subject: Subject) {
    let subject = running(subject).await;
    for _ in 0..3 {
        drop(greeted(&subject).await);
    }
}

pub async fn a_stopped_machine_has_no_consoles(subject: Subject) {
    let subject = subject.with_namespace().await;
    subject.apply(&Plan::new(&subject.namespace, NAME)).await;
    for refusal in [refused(screen(&subject).await), refused(serial_line(&subject).await)] {
        assert!(matches!(refusal, ProviderError::NotFound(_)), "{refusal:?}");
    }
}

pub async fn an_unknown_machine_has_no_consoles(subject: Subject) {
    for refusal in [refused(screen(&subject).await), refused(serial_line(&subject).await)] {
        assert!(matches!(refusal, ProviderError::NotFound(_)), "{refusal:?}");
    }
}

pub async fn a_console_ends_with_its_machine(subject: Subject) {
    let subject = running(subject).await;
    let mut screen = greeted(&subject).await;
    let stopped = subject.provider.stop_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(stopped, Ok(()));
    let mut rest = Vec::new();
    // With a goodbye or without one: how a screen ends is up to the cluster.
    let end = tokio::time::timeout(PATIENCE, screen.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the screen never went dark");
    subject
        .wait_for("the machine is off", NAME, |vm| {
            vm.condition == ObservedCondition::Is(VmStatus::Stopped)
        })
        .await;
    assert!(matches!(
        refused(serial_line(&subject).await),
        ProviderError::NotFound(_)
    ));
}
