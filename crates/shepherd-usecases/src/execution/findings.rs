//! What the checks of a decision found. They are the same whether somebody decides or only looks: a decision fails by
//! the first refusal, a preview shows all of them.

use shepherd_domain::problem::{Problem, Warning};
use shepherd_domain::rendering::VmDocument;

use super::Placed;
use crate::UseCaseError;
use crate::vm::dry_run::DryRun;

/// Whether somebody decides or only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Somebody decides: no cluster is asked about what is refused already.
    Decide,
    /// Somebody looks: everything that can be found out is.
    Show,
}

/// Refusals and warnings, in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What refuses the decision.
    pub blocking: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Warning>,
}

impl Findings {
    /// Notes a refusal and goes on without what the check would have answered.
    pub(super) fn check<T>(&mut self, outcome: Result<T, Problem>) -> Option<T> {
        outcome.map_err(|problem| self.blocking.push(problem)).ok()
    }

    /// The same for a check that can fail by itself as well, which ends everything.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, UseCaseError>) -> Result<Option<T>, UseCaseError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(UseCaseError::Problem(problem)) => {
                self.blocking.push(problem);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a cluster is still to be asked.
    pub(super) fn let_ask(&self, depth: Depth) -> bool {
        self.blocking.is_empty() || depth == Depth::Show
    }
}

/// What the cluster said to a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRunResult {
    /// It would take the machine.
    Accepted,
    /// It would not.
    Rejected,
    /// It did not answer.
    Unreachable,
}

impl DryRunResult {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Rejected => "REJECTED",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}

impl From<&DryRun> for DryRunResult {
    fn from(answer: &DryRun) -> Self {
        match answer {
            DryRun::Accepted(_) => Self::Accepted,
            DryRun::Rejected(_) => Self::Rejected,
            DryRun::Unreachable => Self::Unreachable,
        }
    }
}

/// A decision that was looked at from all sides.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// What was found.
    pub findings: Findings,
    /// Where the request would go, as far as nothing refuses it.
    pub placed: Option<Placed>,
    /// What would be applied, when there is something to apply and it could be rendered.
    pub document: Option<VmDocument>,
    /// What the cluster said, when it was asked.
    pub dry_run: Option<DryRunResult>,
}

impl Examined {
    /// Where an operation goes that is checked in one piece.
    ///
    /// # Errors
    /// What is for the log alone.
    pub(super) fn of(outcome: Result<Placed, UseCaseError>) -> Result<Self, UseCaseError> {
        let mut findings = Findings::default();
        let placed = findings.keep(outcome)?;
        if let Some(placed) = &placed {
            findings.warnings.clone_from(&placed.warnings);
        }
        Ok(Self {
            findings,
            placed,
            document: None,
            dry_run: None,
        })
    }

    /// The decision.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) fn decided(self) -> Result<Placed, UseCaseError> {
        if let Some(first) = self.findings.blocking.into_iter().next() {
            return Err(first.into());
        }
        let placed = super::operation::required(self.placed, "nothing refused a decision, and it leads nowhere")?;
        Ok(Placed {
            warnings: self.findings.warnings,
            ..placed
        })
    }
}
