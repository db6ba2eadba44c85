//! Would Shepherd take this request? The arguments; the check is `preflight`, what stands in for the product `adapters`.

mod adapters;
mod preflight;

use std::process::ExitCode;

use clap::Parser;
use shepherd_domain::Environment;
use shepherd_domain::access::ResourceRole;

use adapters::{Numbers, Printer};
use preflight::{Requester, Wish};

/// Checks a request for a virtual machine by the rules of Shepherd, without asking an installation.
#[derive(Parser)]
struct Arguments {
    /// Namespace the machine is for
    namespace: String,
    /// System it belongs to
    system: String,
    /// Service it runs
    service: String,
    /// CPU limit in cores
    #[arg(long, default_value_t = 2)]
    cpu_cores: i32,
    /// CPU request in cores; equal to the limit when absent
    #[arg(long)]
    cpu_request: Option<i32>,
    /// Memory limit in MiB
    #[arg(long, default_value_t = 4096)]
    memory_mb: i32,
    /// Disk in GiB
    #[arg(long, default_value_t = 60)]
    disk_gb: i32,
    /// Environment of the namespace: test or prod
    #[arg(long, default_value = "test")]
    environment: Environment,
    /// The requester's role on the System: viewer, member, admin or owner
    #[arg(long, default_value = "member")]
    role: ResourceRole,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ids = Numbers::default();
    let requester = Requester::with_role(arguments.role, &ids);
    let wish = Wish {
        namespace: arguments.namespace,
        environment: arguments.environment,
        system: arguments.system,
        service: arguments.service,
        cpu_cores: arguments.cpu_cores,
        cpu_request: arguments.cpu_request,
        memory_mb: arguments.memory_mb,
        disk_gb: arguments.disk_gb,
    };
    let verdict = match preflight::check(&wish, &requester, &ids) {
        Ok(verdict) => verdict,
        Err(refusal) => {
            eprintln!("refused: {refusal}");
            return ExitCode::FAILURE;
        }
    };
    println!("accepted: {} ({:?})", verdict.vm_name, verdict.decision);
    for warning in &verdict.warnings {
        println!("warning: {:?} {:?}", warning.code, warning.params);
    }
    match preflight::announce(&wish, &requester, &verdict, &mut Printer::default()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nobody was told: {error}");
            ExitCode::FAILURE
        }
    }
}
