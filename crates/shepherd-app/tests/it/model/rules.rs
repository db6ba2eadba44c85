//! The rules of the specification: who may do what, and what refuses it, in the order of the checks.

use super::commands::{Action, Confirm, Size, Verdict, Who};
use super::reference::{Kind, Machine, Model, Request, State, Status, Ticket, disk_of};

/// Status and code of a refusal; several where the specification leaves the order of two checks open.
pub type Refusal = &'static [(u16, &'static str)];

const FORBIDDEN: Refusal = &[(403, "FORBIDDEN")];
const SERVICE_NOT_FOUND: Refusal = &[(404, "SERVICE_NOT_FOUND")];
const VM_NOT_FOUND: Refusal = &[(404, "VM_NOT_FOUND")];
const TICKET_NOT_FOUND: Refusal = &[(404, "TICKET_NOT_FOUND")];
const ENVIRONMENT: Refusal = &[(403, "NAMESPACE_ENV_FORBIDDEN")];
const DUPLICATE: Refusal = &[(409, "DUPLICATE_PENDING_REQUEST")];
const STATE: Refusal = &[(409, "INVALID_STATE_TRANSITION")];
const SHRINKS: Refusal = &[(400, "DISK_SHRINK_NOT_ALLOWED")];
const SHRINKS_OR_STATE: Refusal = &[(400, "DISK_SHRINK_NOT_ALLOWED"), (409, "INVALID_STATE_TRANSITION")];
const RANGE: Refusal = &[(400, "DISK_SIZE_OUT_OF_RANGE")];
const RANGE_OR_STATE: Refusal = &[(400, "DISK_SIZE_OUT_OF_RANGE"), (409, "INVALID_STATE_TRANSITION")];
const UNCONFIRMED: Refusal = &[(400, "CONFIRMATION_REQUIRED")];
const WRONG_NAME: Refusal = &[(400, "CONFIRMATION_NAME_MISMATCH")];
const LIMITED: Refusal = &[(429, "RATE_LIMIT_EXCEEDED")];
const LIMITED_OR_UNCONFIRMED: Refusal = &[(429, "RATE_LIMIT_EXCEEDED"), (400, "CONFIRMATION_REQUIRED")];
const NOT_PENDING: Refusal = &[(409, "TICKET_NOT_PENDING")];
const SELF_APPROVAL: Refusal = &[(403, "SELF_APPROVAL_FORBIDDEN")];
const CANCEL: Refusal = &[(403, "TICKET_CANCEL_FORBIDDEN")];
const KEY_REUSED: Refusal = &[(422, "IDEMPOTENCY_KEY_REUSED")];
const KEY_REUSED_OR_GONE: Refusal = &[(422, "IDEMPOTENCY_KEY_REUSED"), (404, "VM_NOT_FOUND")];

/// Wrong names after which every confirmation waits.
const MAX_WRONG_NAMES: u32 = 3;

/// The role on the System.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Owner, or administrator of the platform.
    Owner,
    Member,
    Viewer,
}

impl Who {
    /// Holds `vm:create`, `vm:modify` and `vm:operate` somewhere.
    fn may_ask(self) -> bool {
        match self {
            Self::Alice | Self::Colin | Self::Vera | Self::Tess | Self::Mallory | Self::Admin => true,
            Self::Bob | Self::Dora => false,
        }
    }

    /// Holds `vm:delete` somewhere.
    fn may_delete(self) -> bool {
        match self {
            Self::Alice | Self::Colin | Self::Admin => true,
            Self::Vera | Self::Tess | Self::Mallory | Self::Bob | Self::Dora => false,
        }
    }

    /// Holds `approval:approve`, and with it `approval:view`.
    fn may_decide(self) -> bool {
        match self {
            Self::Colin | Self::Bob | Self::Dora | Self::Admin => true,
            Self::Alice | Self::Vera | Self::Tess | Self::Mallory => false,
        }
    }

    /// Has the roles in prod too.
    fn has_prod(self) -> bool {
        match self {
            Self::Tess | Self::Dora => false,
            Self::Alice | Self::Colin | Self::Vera | Self::Mallory | Self::Bob | Self::Admin => true,
        }
    }

    fn role(self) -> Option<Role> {
        match self {
            Self::Alice | Self::Admin => Some(Role::Owner),
            Self::Colin | Self::Tess => Some(Role::Member),
            Self::Vera => Some(Role::Viewer),
            Self::Mallory | Self::Bob | Self::Dora => None,
        }
    }

    fn reaches(self, prod: bool) -> bool {
        !prod || self.has_prod()
    }
}

impl Model {
    /// Whether a request is accepted, and what refuses it otherwise.
    pub fn judge(&self, request: Request) -> Result<(), Refusal> {
        match request {
            Request::Create { by, prod, size } => self.judge_create(by, prod, size),
            Request::Power { by, vm, action } => self.judge_power(by, vm, action),
            Request::Modify { by, vm, disk_gb } => self.judge_modify(by, vm, disk_gb),
            Request::Delete { by, vm, confirm } => self.judge_delete(by, vm, confirm),
            Request::Decide {
                by,
                ticket,
                verdict: Verdict::Cancel,
            } => self.judge_cancel(by, ticket),
            Request::Decide { by, ticket, verdict } => self.judge_decision(by, ticket, verdict),
        }
    }

    /// Whether another body for the key of an accepted request is refused as such; nothing else can be said of it.
    pub fn reused(&self, request: Request) -> Refusal {
        match request {
            Request::Power { vm: Some(vm), .. } if self.machines[vm].state == State::Gone => KEY_REUSED_OR_GONE,
            Request::Power { .. }
            | Request::Create { .. }
            | Request::Modify { .. }
            | Request::Delete { .. }
            | Request::Decide { .. } => KEY_REUSED,
        }
    }

    fn judge_create(&self, by: Who, prod: bool, size: Size) -> Result<(), Refusal> {
        ensure(by.may_ask(), FORBIDDEN)?;
        let role = by.role().ok_or(SERVICE_NOT_FOUND)?;
        ensure(role != Role::Viewer, FORBIDDEN)?;
        ensure(by.reaches(prod), ENVIRONMENT)?;
        let mut pending = self.tickets.iter().filter(|ticket| ticket.status == Status::Pending);
        let is_same = |ticket: &Ticket| (ticket.kind, ticket.requester, ticket.prod) == (Kind::Create(size), by, prod);
        ensure(!pending.any(is_same), DUPLICATE)
    }

    fn judge_power(&self, by: Who, vm: Option<usize>, action: Action) -> Result<(), Refusal> {
        ensure(by.may_ask(), FORBIDDEN)?;
        let machine = self.operable(by, vm)?;
        ensure(allows_power(machine.state, action), STATE)?;
        self.ensure_first(vm, Kind::Power(action))
    }

    fn judge_modify(&self, by: Who, vm: Option<usize>, disk_gb: i32) -> Result<(), Refusal> {
        ensure(by.may_ask(), FORBIDDEN)?;
        let machine = self.operable(by, vm)?;
        let in_state = allows_modify(machine.state);
        let (_, largest) = disk_of(machine.size);
        ensure(
            disk_gb >= machine.disk_gb,
            if in_state { SHRINKS } else { SHRINKS_OR_STATE },
        )?;
        ensure(disk_gb <= largest, if in_state { RANGE } else { RANGE_OR_STATE })?;
        ensure(in_state, STATE)?;
        self.ensure_first(vm, Kind::Modify(disk_gb))
    }

    fn judge_delete(&self, by: Who, vm: Option<usize>, confirm: Confirm) -> Result<(), Refusal> {
        ensure(by.may_delete(), FORBIDDEN)?;
        let machine = self.operable(by, vm)?;
        // A member deletes what is the own.
        ensure(by.role() == Some(Role::Owner) || machine.owner == by, FORBIDDEN)?;
        self.judge_confirmation(by, machine.prod, confirm)?;
        ensure(allows_delete(machine.state), STATE)?;
        self.ensure_first(vm, Kind::Delete)
    }

    fn judge_confirmation(&self, by: Who, prod: bool, confirm: Confirm) -> Result<(), Refusal> {
        let limited = self.wrong_names.get(&by).is_some_and(|wrong| *wrong >= MAX_WRONG_NAMES);
        match confirm {
            // Whether a call without what is asked for bears a confirmation is not said.
            Confirm::Missing if limited => Err(LIMITED_OR_UNCONFIRMED),
            Confirm::Flag if limited && prod => Err(LIMITED_OR_UNCONFIRMED),
            Confirm::Name | Confirm::Flag | Confirm::WrongName if limited => Err(LIMITED),
            Confirm::Missing => Err(UNCONFIRMED),
            Confirm::Flag if prod => Err(UNCONFIRMED),
            Confirm::WrongName => Err(WRONG_NAME),
            Confirm::Name | Confirm::Flag => Ok(()),
        }
    }

    /// The machine, if this person sees it and may do anything to it.
    fn operable(&self, by: Who, vm: Option<usize>) -> Result<&Machine, Refusal> {
        let machine = vm.map(|vm| &self.machines[vm]).ok_or(VM_NOT_FOUND)?;
        ensure(machine.state != State::Gone && by.reaches(machine.prod), VM_NOT_FOUND)?;
        let role = by.role().ok_or(VM_NOT_FOUND)?;
        ensure(role != Role::Viewer, FORBIDDEN)?;
        Ok(machine)
    }

    /// One open ticket per machine and group.
    fn ensure_first(&self, vm: Option<usize>, kind: Kind) -> Result<(), Refusal> {
        let is_open = |ticket: &&Ticket| matches!(ticket.status, Status::Pending | Status::Approved);
        let mut open = self.tickets.iter().filter(is_open);
        ensure(
            !open.any(|ticket| ticket.vm == vm && ticket.kind.same_group(kind)),
            DUPLICATE,
        )
    }

    fn judge_decision(&self, by: Who, ticket: Option<usize>, verdict: Verdict) -> Result<(), Refusal> {
        ensure(by.may_decide(), FORBIDDEN)?;
        let ticket = self.visible(by, ticket)?;
        // An own ticket is visible also where nothing may be decided.
        ensure(by.reaches(ticket.prod), FORBIDDEN)?;
        ensure(ticket.status == Status::Pending, NOT_PENDING)?;
        ensure(!(ticket.prod && ticket.requester == by), SELF_APPROVAL)?;
        match (verdict, ticket.vm) {
            (Verdict::Approve, Some(vm)) => {
                let state = self.machines[vm].state;
                ensure(state != State::Gone, VM_NOT_FOUND)?;
                ensure(allows(state, ticket.kind), STATE)
            }
            (Verdict::Approve | Verdict::Reject | Verdict::Cancel, _) => Ok(()),
        }
    }

    fn judge_cancel(&self, by: Who, ticket: Option<usize>) -> Result<(), Refusal> {
        let ticket = self.visible(by, ticket)?;
        ensure(ticket.requester == by, CANCEL)?;
        ensure(ticket.status == Status::Pending, NOT_PENDING)
    }

    fn visible(&self, by: Who, ticket: Option<usize>) -> Result<&Ticket, Refusal> {
        let ticket = ticket.map(|ticket| &self.tickets[ticket]).ok_or(TICKET_NOT_FOUND)?;
        let is_visible = ticket.requester == by || (by.may_decide() && by.reaches(ticket.prod));
        ensure(is_visible, TICKET_NOT_FOUND)?;
        Ok(ticket)
    }
}

fn ensure(holds: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn allows(state: State, kind: Kind) -> bool {
    match kind {
        Kind::Create(_) => true,
        Kind::Power(action) => allows_power(state, action),
        Kind::Modify(_) => allows_modify(state),
        Kind::Delete => allows_delete(state),
    }
}

fn allows_power(state: State, action: Action) -> bool {
    match action {
        Action::Start => state == State::Stopped,
        Action::Stop | Action::Restart => state == State::Running,
    }
}

fn allows_modify(state: State) -> bool {
    matches!(state, State::Running | State::Stopped)
}

fn allows_delete(state: State) -> bool {
    matches!(state, State::Running | State::Stopped)
}
