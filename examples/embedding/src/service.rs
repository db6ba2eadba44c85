//! The check over HTTP: `POST /checks` with a wish and the requester's role is answered with a verdict, or with the code
//! and parameters that Shepherd itself would answer with.

use actix_web::{HttpResponse, post, web};
use serde::Deserialize;
use serde_json::{Value, json};
use shepherd_domain::access::ResourceRole;
use shepherd_ports::Clock as _;

use crate::adapters::{MachineClock, Numbers, Spool};
use crate::preflight::{self, Refusal, Requester, Verdict, Wish};

/// What the checks need; all of it implements ports of Shepherd.
pub(crate) struct Desk {
    pub(crate) ids: Numbers,
    pub(crate) spool: Spool,
}

/// A wish, and the role on the System of whoever has it.
#[derive(Deserialize)]
pub(crate) struct Question {
    #[serde(flatten)]
    pub(crate) wish: Wish,
    pub(crate) role: ResourceRole,
}

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.service(post_check);
}

#[post("/checks")]
async fn post_check(desk: web::Data<Desk>, question: web::Json<Question>) -> HttpResponse {
    match answer(&desk, &question).await {
        Ok(Ok(verdict)) => HttpResponse::Ok().json(shown(&verdict)),
        Ok(Err(Refusal::Problem(problem))) => HttpResponse::UnprocessableEntity().json(problem),
        Ok(Err(denied @ Refusal::Denied(_))) => HttpResponse::Forbidden().json(json!({"denied": denied.to_string()})),
        Err(error) => {
            eprintln!("nobody could be told: {error:#}");
            HttpResponse::ServiceUnavailable().finish()
        }
    }
}

/// Checks a wish, and tells those who would have to decide it.
pub(crate) async fn answer(desk: &Desk, question: &Question) -> anyhow::Result<Result<Verdict, Refusal>> {
    let Question { wish, role } = question;
    let requester = Requester::with_role(*role, &desk.ids);
    let verdict = match preflight::check(wish, &requester, &desk.ids) {
        Ok(verdict) => verdict,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut spool = desk.spool.clone();
    preflight::announce(wish, &requester, &verdict, &mut spool, MachineClock.now()).await?;
    Ok(Ok(verdict))
}

/// A verdict for clients.
pub(crate) fn shown(verdict: &Verdict) -> Value {
    json!({"vm_name": verdict.vm_name, "decision": verdict.decision.as_str(), "warnings": verdict.warnings})
}
