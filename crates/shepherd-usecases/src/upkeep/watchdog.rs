//! Machines that do not come into being are given up (domain.md §4).

use chrono::TimeDelta;

use crate::controllers::projection;
use crate::{Platform, UseCaseError};

/// Machines of one transaction.
const BATCH: u32 = 200;

/// Makes machines FAILED that have been CREATING for longer than `vm.creation_timeout`, and tells their owners; answers
/// how many. A machine that runs after all is RUNNING as soon as its cluster says so.
pub(super) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let timeout = TimeDelta::from_std(platform.settings().creation_timeout).unwrap_or(TimeDelta::MAX);
    let mut failed = 0;
    loop {
        let now = platform.now();
        let mut uow = platform.begin().await?;
        let stuck = uow.watches().fail_stuck_creations(timeout, now, BATCH).await?;
        projection::announce(platform, &mut *uow, &stuck, now).await?;
        uow.commit().await?;
        for machine in &stuck {
            tracing::warn!(vm = %machine.name, vm_id = %machine.vm, "the creation of a machine took too long");
        }
        failed += u64::try_from(stuck.len()).unwrap_or(u64::MAX);
        if stuck.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(failed);
        }
    }
}
