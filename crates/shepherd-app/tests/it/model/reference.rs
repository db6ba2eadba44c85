//! The state of the specification: tickets, machines, and what is approved and not carried out yet.

use std::collections::BTreeMap;

use super::commands::{Action, Confirm, Pick, Size, Verdict, Who};

/// Picks below this one take what can still change, if there is any.
const MOSTLY: Pick = 208;

/// What somebody asks of the API, about tickets and machines by their place in the model; `None` is one that is not
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Create {
        by: Who,
        prod: bool,
        size: Size,
    },
    Power {
        by: Who,
        vm: Option<usize>,
        action: Action,
    },
    Modify {
        by: Who,
        vm: Option<usize>,
        disk_gb: i32,
    },
    Delete {
        by: Who,
        vm: Option<usize>,
        confirm: Confirm,
    },
    Decide {
        by: Who,
        ticket: Option<usize>,
        verdict: Verdict,
    },
}

/// Kinds of tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create(Size),
    Power(Action),
    /// To a disk of so many GiB.
    Modify(i32),
    Delete,
}

impl Kind {
    fn request_type(self) -> &'static str {
        match self {
            Self::Create(_) => "CREATE_VM",
            Self::Power(Action::Start) => "START_VM",
            Self::Power(Action::Stop) => "STOP_VM",
            Self::Power(Action::Restart) => "RESTART_VM",
            Self::Modify(_) => "MODIFY_VM",
            Self::Delete => "DELETE_VM",
        }
    }

    /// What the fact of its end is called, without the outcome.
    fn fact(self) -> &'static str {
        match self {
            Self::Create(_) => "VM_CREATION",
            Self::Power(Action::Start) => "VM_START",
            Self::Power(Action::Stop) => "VM_STOP",
            Self::Power(Action::Restart) => "VM_RESTART",
            Self::Modify(_) => "VM_MODIFY",
            Self::Delete => "VM_DELETION",
        }
    }

    /// Whether a machine has room for one open ticket of the two kinds only.
    pub fn same_group(self, other: Self) -> bool {
        match (self, other) {
            (Self::Power(_), Self::Power(_)) | (Self::Modify(_), Self::Modify(_)) | (Self::Delete, Self::Delete) => {
                true
            }
            (Self::Create(_) | Self::Power(_) | Self::Modify(_) | Self::Delete, _) => false,
        }
    }
}

/// Where a ticket at rest can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    /// Approved; its job is held back.
    Approved,
    Rejected,
    Cancelled,
    Completed,
    /// COMPLETED or FAILED: the machine was approved for deletion between the approval and the execution. The
    /// specification checks the state at execution, and does not say whether the row's or the cluster's.
    Ended,
}

/// A ticket.
pub struct Ticket {
    pub id: String,
    pub kind: Kind,
    pub status: Status,
    pub requester: Who,
    pub prod: bool,
    /// The machine; of a create once it is approved.
    pub vm: Option<usize>,
    pub by_policy: bool,
}

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Creating,
    Running,
    Stopped,
    Deleting,
    Gone,
}

/// A machine.
pub struct Machine {
    pub id: String,
    pub name: String,
    pub prod: bool,
    pub size: Size,
    pub owner: Who,
    pub state: State,
    /// Whether its object is to run; without an object there is nothing.
    pub runs: Option<bool>,
    pub disk_gb: i32,
}

/// Everything there is of one Service.
#[derive(Default)]
pub struct Model {
    service: String,
    pub tickets: Vec<Ticket>,
    pub machines: Vec<Machine>,
    /// Wrong names of a person within five minutes.
    pub wrong_names: BTreeMap<Who, u32>,
    /// Tickets with a job, in the order of their approval.
    queue: Vec<usize>,
}

/// What may be found, by what it is found under.
pub type Expected = BTreeMap<String, Vec<String>>;

impl Model {
    /// A Service of this name, and nothing else.
    pub fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            ..Self::default()
        }
    }

    /// A ticket, mostly one that is pending.
    pub fn pick_ticket(&self, pick: Pick) -> Option<usize> {
        choose(self.tickets.len(), pick, |at| {
            self.tickets[at].status == Status::Pending
        })
    }

    /// A machine, mostly one that is there.
    pub fn pick_machine(&self, pick: Pick) -> Option<usize> {
        choose(self.machines.len(), pick, |at| self.machines[at].state != State::Gone)
    }

    /// What was accepted becomes so. `id` is the ticket's.
    pub fn submit(&mut self, request: Request, id: String) {
        let (by, kind, vm) = match request {
            Request::Create { by, size, .. } => (by, Kind::Create(size), None),
            Request::Power { by, vm, action } => (by, Kind::Power(action), vm),
            Request::Modify { by, vm, disk_gb } => (by, Kind::Modify(disk_gb), vm),
            Request::Delete { by, vm, .. } => (by, Kind::Delete, vm),
            Request::Decide { .. } => return,
        };
        let prod = match request {
            Request::Create { prod, .. } => prod,
            Request::Power { .. } | Request::Modify { .. } | Request::Delete { .. } | Request::Decide { .. } => {
                vm.is_some_and(|vm| self.machines[vm].prod)
            }
        };
        let by_policy = matches!(kind, Kind::Power(_)) && !prod;
        if by_policy {
            self.queue.push(self.tickets.len());
        }
        self.tickets.push(Ticket {
            id,
            kind,
            status: if by_policy { Status::Approved } else { Status::Pending },
            requester: by,
            prod,
            vm,
            by_policy,
        });
    }

    /// A decision that was accepted. `vm` is the id of the machine that the ticket has now.
    pub fn decide(&mut self, ticket: usize, verdict: Verdict, vm: &str) {
        match verdict {
            Verdict::Approve => self.approve(ticket, vm),
            Verdict::Reject => self.tickets[ticket].status = Status::Rejected,
            Verdict::Cancel => self.tickets[ticket].status = Status::Cancelled,
        }
    }

    fn approve(&mut self, at: usize, vm: &str) {
        self.queue.push(at);
        let index = self.machines.len() + 1;
        let name = name_of(self.tickets[at].prod, &self.service, index);
        let ticket = &mut self.tickets[at];
        ticket.status = Status::Approved;
        match ticket.kind {
            Kind::Create(size) => {
                ticket.vm = Some(self.machines.len());
                self.machines.push(Machine {
                    id: vm.to_owned(),
                    name,
                    prod: ticket.prod,
                    size,
                    owner: ticket.requester,
                    state: State::Creating,
                    runs: None,
                    disk_gb: disk_of(size).0,
                });
            }
            Kind::Delete => {
                if let Some(vm) = ticket.vm {
                    self.machines[vm].state = State::Deleting;
                }
            }
            Kind::Power(_) | Kind::Modify(_) => {}
        }
    }

    /// Everything approved is carried out, for each machine in the order of the approvals. Answers whether instances
    /// were replaced: then what is seen passes through states and back.
    pub fn settle(&mut self) -> bool {
        let mut replaced = false;
        for at in std::mem::take(&mut self.queue) {
            let ticket = &mut self.tickets[at];
            let Some(vm) = ticket.vm else { continue };
            let machine = &mut self.machines[vm];
            ticket.status = Status::Completed;
            match ticket.kind {
                Kind::Delete => {
                    machine.state = State::Gone;
                    machine.runs = None;
                }
                Kind::Create(_) | Kind::Power(_) | Kind::Modify(_) if machine.state == State::Deleting => {
                    ticket.status = Status::Ended;
                }
                Kind::Create(_) | Kind::Power(Action::Start) => machine.run(true),
                Kind::Power(Action::Stop) => machine.run(false),
                Kind::Power(Action::Restart) => replaced = true,
                Kind::Modify(disk_gb) => machine.disk_gb = disk_gb,
            }
        }
        replaced
    }

    /// Everything that is to be found in the database and on the clusters.
    pub fn expected(&self, ids: &BTreeMap<Who, String>) -> Expected {
        let tickets = self.tickets.iter().map(|ticket| {
            let lines = self.ticket_lines(ticket, &ids[&ticket.requester]);
            (format!("ticket {}", ticket.id), lines)
        });
        let rows = self.machines.iter().filter_map(|machine| {
            let status = machine.status()?;
            let (namespace, owner) = (namespace(machine.prod), &ids[&machine.owner]);
            let line = format!("{} {namespace} {status} {} {owner}", machine.name, machine.disk_gb);
            Some((format!("vm {}", machine.id), vec![line]))
        });
        let objects = self.machines.iter().filter_map(|machine| {
            let strategy = if machine.runs? { "Always" } else { "Halted" };
            let line = format!("{strategy} {}Gi", machine.disk_gb);
            Some((format!("object {}", machine.name), vec![line]))
        });
        tickets.chain(rows).chain(objects).collect()
    }

    /// Type, status, kind of decision, requester, event, machine, history and facts of a ticket.
    fn ticket_lines(&self, ticket: &Ticket, requester: &str) -> Vec<String> {
        let begin = if ticket.by_policy {
            "SUBMITTED,APPROVED"
        } else {
            "SUBMITTED,PENDING_APPROVAL"
        };
        let approved = if ticket.by_policy { "" } else { ",APPROVED" };
        let decided = if ticket.by_policy { "POLICY" } else { "USER" };
        let vm = ticket.vm.map_or("-", |vm| self.machines[vm].id.as_str());
        let kind = ticket.kind.request_type();
        let line = |status: &str, decided: &str, event: &str, rest: &str, fact: &str| {
            format!("{kind} {status} {decided} {requester} {event} {vm} {begin}{rest} {fact}")
        };
        let done = format!("{approved},EXECUTING,COMPLETED");
        let fact = ticket.kind.fact();
        let completed = line("COMPLETED", decided, "COMPLETED", &done, &format!("{fact}_COMPLETED"));
        match ticket.status {
            Status::Pending => vec![line("PENDING_APPROVAL", "-", "PENDING", "", "-")],
            Status::Approved => vec![line("APPROVED", decided, "PROCESSING", approved, "-")],
            Status::Rejected => vec![line("REJECTED", decided, "CANCELLED", ",REJECTED", "-")],
            Status::Cancelled => vec![line("CANCELLED", "-", "CANCELLED", ",CANCELLED", "REQUEST_CANCELLED")],
            Status::Completed => vec![completed],
            Status::Ended => {
                let failure = format!("{fact}_FAILED");
                let failed = format!("{approved},EXECUTING,FAILED");
                let refused = format!("{approved},FAILED");
                let failures = [
                    ("FAILED", &failed),
                    ("FAILED", &refused),
                    ("CANCELLED", &failed),
                    ("CANCELLED", &refused),
                ];
                let failures = failures.map(|(event, rest)| line("FAILED", decided, event, rest, &failure));
                failures.into_iter().chain([completed]).collect()
            }
        }
    }
}

impl Machine {
    fn run(&mut self, runs: bool) {
        self.runs = Some(runs);
        self.state = if runs { State::Running } else { State::Stopped };
    }

    /// The status of its row; none when there is no row.
    fn status(&self) -> Option<&'static str> {
        match self.state {
            State::Creating => Some("CREATING"),
            State::Running => Some("RUNNING"),
            State::Stopped => Some("STOPPED"),
            State::Deleting => Some("DELETING"),
            State::Gone => None,
        }
    }
}

/// The namespace of an environment.
pub fn namespace(prod: bool) -> &'static str {
    if prod { "prod-shop" } else { "dev" }
}

/// The disk of a size, and the largest one, in GiB.
pub fn disk_of(size: Size) -> (i32, i32) {
    match size {
        Size::Small => (20, 50),
        Size::Medium => (40, 200),
    }
}

/// `{namespace}-{system}-{service}-{instance}`; instances are numbered as they are approved, whatever the namespace.
fn name_of(prod: bool, service: &str, index: usize) -> String {
    format!("{}-shop-{service}-{index:02}", namespace(prod))
}

fn choose(count: usize, pick: Pick, lively: impl Fn(usize) -> bool) -> Option<usize> {
    if pick == Pick::MAX {
        return None;
    }
    let mut candidates: Vec<usize> = (0..count).filter(|at| pick >= MOSTLY || lively(*at)).collect();
    if candidates.is_empty() {
        candidates = (0..count).collect();
    }
    let back = usize::from(pick).checked_rem(candidates.len())?;
    candidates.into_iter().rev().nth(back)
}
