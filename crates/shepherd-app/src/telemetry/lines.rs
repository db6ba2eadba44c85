//! What a line of the log looks like.
//!
//! JSON: one flat object per line with `timestamp`, `level`, `message` and `target`, then what the line is about
//! ([`ABOUT`]) and the trace it belongs to as far as they are known, then its own fields. Text says the same for people.
//! Nothing that comes from outside can end a line, begin another one, or steer a terminal.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::context::ids_of;

/// Fields of spans that every line within them has, too.
const ABOUT: [&str; 5] = ["request_id", "user_id", "ticket_id", "event_id", "cluster"];
/// Keys that a line has by itself.
const OWN: [&str; 4] = ["timestamp", "level", "message", "target"];

/// Lines for machines.
pub(super) struct JsonLines;

/// Lines for people.
pub(super) struct TextLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = serde_json::to_string(&Line::of(context, event)?).map_err(|_| fmt::Error)?;
        writeln!(writer, "{}", Escaped(&line))
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = Line::of(context, event)?;
        write!(writer, "{} {:>5} {}:", line.timestamp, line.level, line.target)?;
        write!(writer, " {}", Harmless(&line.message))?;
        for (key, value) in &line.fields {
            match value {
                Value::String(text) if is_plain(text) => write!(writer, " {key}={text}")?,
                Value::String(text) => write!(writer, " {key}={text:?}")?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    write!(writer, " {key}={value}")?;
                }
            }
        }
        writeln!(writer)
    }
}

/// A line before it is written.
struct Line {
    timestamp: String,
    level: &'static str,
    target: String,
    message: String,
    fields: Vec<(String, Value)>,
}

impl Line {
    fn of<S, N>(context: &FmtContext<'_, S, N>, event: &Event<'_>) -> Result<Self, fmt::Error>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
        N: for<'writer> FormatFields<'writer> + 'static,
    {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut said = Said::default();
        event.record(&mut said);
        let mut fields = about(context);
        fields.retain(|(key, _)| !said.fields.iter().any(|(other, _)| other == key));
        fields.append(&mut said.fields);
        Ok(Self {
            timestamp,
            level: event.metadata().level().as_str(),
            target: said.target.unwrap_or_else(|| event.metadata().target().to_owned()),
            message: said.message,
            fields,
        })
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(OWN.len() + self.fields.len()))?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("level", self.level)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("target", &self.target)?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// What the spans around a line say; inner ones win.
fn about<S, N>(context: &FmtContext<'_, S, N>) -> Vec<(String, Value)>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let Some(span) = context.parent_span() else {
        return Vec::new();
    };
    let mut known = Map::new();
    for around in span.scope() {
        let extensions = around.extensions();
        let Some(formatted) = extensions.get::<FormattedFields<N>>() else {
            continue;
        };
        let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(&formatted.fields) else {
            continue;
        };
        for key in ABOUT {
            if let (false, Some(value)) = (known.contains_key(key), fields.remove(key)) {
                known.insert(key.to_owned(), value);
            }
        }
    }
    let mut fields: Vec<(String, Value)> = known.into_iter().collect();
    if let Some((trace, span)) = ids_of(&span.id()) {
        fields.push(("trace_id".to_owned(), trace.into()));
        fields.push(("span_id".to_owned(), span.into()));
    }
    fields
}

/// What a line says itself.
#[derive(Default)]
struct Said {
    message: String,
    target: Option<String>,
    fields: Vec<(String, Value)>,
}

impl Said {
    fn note(&mut self, field: &Field, value: Value) {
        let name = field.name().trim_start_matches("r#");
        match (name, value) {
            ("message", Value::String(text)) => self.message = text,
            // Libraries that know another facade for logs say where a line comes from in fields.
            ("log.target", Value::String(target)) => self.target = Some(target),
            ("log.module_path" | "log.file" | "log.line", _) => {}
            (name, value) if OWN.contains(&name) => self.fields.push((format!("field_{name}"), value)),
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let short = u64::try_from(value);
        self.note(field, short.map_or_else(|_| value.to_string().into(), Value::from));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }

    /// An error says what happened, and its sources why.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // A String takes whatever is written to it.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.note(field, text.into());
    }
}

/// Whether a text can stand in a line of text without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=')
}

/// A text without characters that do anything but be seen.
struct Harmless<'a>(&'a str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmful(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// JSON without characters that end a line or steer a terminal somewhere. JSON itself asks for the escape of those below
/// the blank only. They can stand nowhere but in texts and keys, where an escape means the same.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_harmful) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(f, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// Controls, and what some readers take for the end of a line.
fn is_harmful(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'writer> MakeWriter<'writer> for Kept {
        type Writer = Self;

        fn make_writer(&'writer self) -> Self {
            self.clone()
        }
    }

    /// The lines that are written meanwhile.
    macro_rules! lines {
        ($format:expr, $work:expr) => {{
            let kept = Kept::default();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(kept.clone())
                .with_ansi(false)
                .fmt_fields(JsonFields::new())
                .event_format($format);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || $work);
            let bytes = kept.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            text.split_terminator('\n').map(str::to_owned).collect::<Vec<_>>()
        }};
    }

    const HOSTILE: &str = "a\nERROR forged: line\r\u{1b}[2K\u{9b}31m\u{7f}\u{85}\u{2028}next\u{2029}\" x=1 \u{e9}";

    fn speak() {
        let outer = tracing::info_span!(
            "outer",
            request_id = "r-1",
            user_id = tracing::field::Empty,
            secret = "no"
        );
        let _outer = outer.enter();
        outer.record("user_id", "u-1");
        let inner = tracing::info_span!("inner", event_id = "e-1", request_id = "r-2");
        let _inner = inner.enter();
        let error = io::Error::other(HOSTILE);
        tracing::warn!(
            path = HOSTILE,
            name = %HOSTILE,
            error = &error as &dyn Error,
            level = 7,
            event_id = "own",
            count = 3_u128,
            "said {HOSTILE}"
        );
    }

    #[test]
    fn a_line_is_one_flat_object() {
        let lines = lines!(JsonLines, speak());
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Map<String, Value> = serde_json::from_str(&lines[0]).unwrap();
        assert!(line.values().all(|value| !value.is_object() && !value.is_array()));
        for (key, value) in [
            ("level", Value::from("WARN")),
            ("message", format!("said {HOSTILE}").into()),
            ("target", module_path!().into()),
            ("request_id", "r-2".into()),
            ("user_id", "u-1".into()),
            ("event_id", "own".into()),
            ("path", HOSTILE.into()),
            ("name", HOSTILE.into()),
            ("error", HOSTILE.into()),
            ("field_level", 7.into()),
            ("count", 3.into()),
        ] {
            assert_eq!(line.get(key), Some(&value), "{key}");
        }
        assert!(line.contains_key("timestamp") && !line.contains_key("secret"));
        assert_eq!(lines[0].matches("\"event_id\"").count(), 1);
    }

    #[test]
    fn json_steers_no_terminal_and_ends_no_line() {
        let lines = lines!(JsonLines, speak());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains(is_harmful), "{lines:?}");
        for escape in ["\\u001b[2K", "\\u009b31m", "\\u007f", "\\u0085", "\\u2028next\\u2029"] {
            assert!(lines[0].contains(escape), "{escape} in {}", lines[0]);
        }
        assert!(lines[0].contains('\u{e9}'), "letters stay as they are");
    }

    #[test]
    fn text_cannot_be_forged() {
        let lines = lines!(TextLines, speak());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains(" WARN ") && lines[0].contains(" user_id=u-1"),
            "{lines:?}"
        );
        assert!(!lines[0].contains(is_harmful), "{lines:?}");
    }

    #[test]
    fn what_is_outside_of_spans_is_about_nothing() {
        let lines = lines!(JsonLines, tracing::info!(waited = 0.5, "alone"));
        let line: Map<String, Value> = serde_json::from_str(&lines[0]).unwrap();
        let mut keys: Vec<&str> = line.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["level", "message", "target", "timestamp", "waited"]);
    }
}
