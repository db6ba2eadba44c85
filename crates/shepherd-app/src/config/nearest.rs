//! Which name somebody may have meant.

/// Least likeness of two names, 0 to 1, that is worth a question.
const LIKE: f64 = 0.75;
/// How much of the likeness is that both end in the same word.
const SAME_END: f64 = 0.76;

/// The known name that is most like this one, if one is.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Names are alike when few letters differ, or when only the section does.
fn likeness(name: &str, candidate: &str) -> f64 {
    let spelled = strsim::normalized_damerau_levenshtein(name, candidate);
    let end = |name: &str| {
        name.rsplit_once('.')
            .map_or_else(|| name.to_owned(), |(_, end)| end.to_owned())
    };
    if end(name) == end(candidate) {
        SAME_END + (1.0 - SAME_END) * spelled
    } else {
        spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["server.port", "server.bind", "database.port", "k8s.qps"];

    #[test]
    fn a_slip_of_the_pen_or_of_the_section_is_understood() {
        for (name, meant) in [
            ("server.prot", Some("server.port")),
            ("sever.port", Some("server.port")),
            ("database.port_", Some("database.port")),
            ("port", Some("server.port")),
            ("kubernetes.qps", Some("k8s.qps")),
            ("server.colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, KNOWN), meant, "{name}");
        }
    }
}
