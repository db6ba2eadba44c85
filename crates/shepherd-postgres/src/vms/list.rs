//! The list of machines: a page of 20 among 100,000 rows reads about 20 rows.
//!
//! The page is cut from an ordering index first, as bare ids, and joined afterwards. What a caller may see is a set
//! of Systems per environment, which no column of `vms` holds; so Systems become Service ids and environments become
//! namespace names by one small statement before. Bound as plain arrays, they let the planner see how many rows to
//! expect, and choose between walking the ordering index and collecting the few rows of a few Services: with
//! subqueries in their place it guesses, and a caller with a dozen old machines makes it read all 100,000.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use serde::Deserialize;
use shepherd_domain::Environment;
use shepherd_domain::access::{LimitedVisibility, Visibility};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::vms::{VmFilter, VmRecord, VmSort};
use uuid::Uuid;

use crate::statement::{Filter, List, Texts, Uuids, empty_page, fetch_one, values};
use crate::vms::{vm_columns, vm_names};

/// The page as ids in the wanted order, then everything else for those alone, in the same order.
macro_rules! page_by {
    ($order:literal) => {
        concat!(
            "SELECT ",
            vm_columns!(),
            " FROM (SELECT v.id FROM vms v WHERE {where} ORDER BY ",
            $order,
            " {limit}) AS page JOIN vms v ON v.id = page.id",
            vm_names!(),
            " ORDER BY ",
            $order
        )
    };
}

const RESOLVE: &str = "SELECT jsonb_build_object( \
         'test_services', (SELECT jsonb_agg(s.id) FROM services s WHERE s.system_id = ANY($1)), \
         'prod_services', (SELECT jsonb_agg(s.id) FROM services s WHERE s.system_id = ANY($2)), \
         'system_services', (SELECT jsonb_agg(s.id) FROM services s WHERE s.system_id = $3), \
         'test_namespaces', (SELECT jsonb_agg(n.name) FROM namespace_registry n WHERE n.environment = 'test'), \
         'prod_namespaces', (SELECT jsonb_agg(n.name) FROM namespace_registry n WHERE n.environment = 'prod') \
     ) AS doc";

/// Ids and names behind Systems and environments; an aggregate over nothing is NULL.
#[derive(Default, Deserialize)]
struct Resolved {
    test_services: Option<Vec<Uuid>>,
    prod_services: Option<Vec<Uuid>>,
    system_services: Option<Vec<Uuid>>,
    test_namespaces: Option<Vec<String>>,
    prod_namespaces: Option<Vec<String>>,
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    visibility: &Visibility,
    filter: &VmFilter,
    sort: VmSort,
    descending: bool,
    request: PageRequest,
) -> Result<Page<VmRecord>, RepositoryError> {
    let resolved = resolve(db, visibility, filter).await?;
    let Some(shown) = conditions(visibility, filter, resolved) else {
        return Ok(empty_page(request));
    };
    let rows = match (sort, descending) {
        (VmSort::CreatedAt, true) => page_by!("v.created_at DESC, v.id DESC"),
        (VmSort::CreatedAt, false) => page_by!("v.created_at, v.id"),
        (VmSort::Name, true) => page_by!("v.name DESC, v.id DESC"),
        (VmSort::Name, false) => page_by!("v.name, v.id"),
        (VmSort::Status, true) => page_by!("v.status DESC, v.id DESC"),
        (VmSort::Status, false) => page_by!("v.status, v.id"),
    };
    List {
        rows,
        counted: "vms v",
        filter: shown,
    }
    .page(db, request)
    .await
}

async fn resolve(
    db: &impl ConnectionTrait,
    visibility: &Visibility,
    filter: &VmFilter,
) -> Result<Resolved, RepositoryError> {
    let limited = match visibility {
        Visibility::Everything if filter.system_id.is_none() && filter.environment.is_none() => {
            return Ok(Resolved::default());
        }
        Visibility::Everything => &LimitedVisibility::default(),
        Visibility::Limited(limited) => limited,
    };
    let values = values![
        Uuids::systems(&limited.test),
        Uuids::systems(&limited.prod),
        filter.system_id
    ];
    Ok(fetch_one(db, RESOLVE, values).await?.unwrap_or_default())
}

/// The conditions, or `None` when nothing can fulfil them.
fn conditions(visibility: &Visibility, filter: &VmFilter, resolved: Resolved) -> Option<Filter> {
    let VmFilter {
        namespace,
        status,
        environment,
        system_id,
        service_id,
        cluster_id,
        q,
    } = filter;
    let Resolved {
        test_services,
        prod_services,
        system_services,
        test_namespaces,
        prod_namespaces,
    } = resolved;
    let (test_namespaces, prod_namespaces) = (test_namespaces.unwrap_or_default(), prod_namespaces.unwrap_or_default());
    let mut shown = Filter::default();
    if let Some(environment) = environment {
        let names = match environment {
            Environment::Test => test_namespaces.clone(),
            Environment::Prod => prod_namespaces.clone(),
        };
        shown.and("v.namespace = ANY(?)", values![Texts(names)]);
    }
    if let Visibility::Limited(limited) = visibility {
        let test = (test_services.unwrap_or_default(), test_namespaces);
        let prod = (prod_services.unwrap_or_default(), prod_namespaces);
        limit(&mut shown, limited, test, prod)?;
    }
    if system_id.is_some() {
        shown.and("v.service_id = ANY(?)", values![Uuids(system_services?)]);
    }
    shown.and_some("v.service_id = ?", *service_id);
    shown.and_some("v.cluster_id = ?", *cluster_id);
    shown.and_some("v.namespace = ?", namespace.as_deref());
    shown.and_some("v.status = ?", *status);
    shown.and_some("strpos(v.name, lower(?)) > 0", q.as_deref());
    Some(shown)
}

/// Service ids of one environment, and the namespaces of that environment.
type Side = (Vec<Uuid>, Vec<String>);

/// What a limited caller sees, in the simplest form that says it.
fn limit(shown: &mut Filter, limited: &LimitedVisibility, test: Side, prod: Side) -> Option<()> {
    let sees_both_alike = limited.test.iter().collect::<BTreeSet<_>>() == limited.prod.iter().collect::<BTreeSet<_>>();
    match (test.0.is_empty(), prod.0.is_empty()) {
        (true, true) => return None,
        // Every namespace is one or the other, so the namespace need not be looked at.
        _ if sees_both_alike => shown.and("v.service_id = ANY(?)", values![Uuids(test.0)]),
        (false, true) => one_side(shown, test),
        (true, false) => one_side(shown, prod),
        (false, false) => shown.and(
            "((v.service_id = ANY(?) AND v.namespace = ANY(?)) OR (v.service_id = ANY(?) AND v.namespace = ANY(?)))",
            values![Uuids(test.0), Texts(test.1), Uuids(prod.0), Texts(prod.1)],
        ),
    }
    Some(())
}

fn one_side(shown: &mut Filter, (services, namespaces): Side) {
    shown.and(
        "v.service_id = ANY(?) AND v.namespace = ANY(?)",
        values![Uuids(services), Texts(namespaces)],
    );
}
