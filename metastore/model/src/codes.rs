//! The one list of error codes, which keep their meaning for ever.
//!
//! - A code stands here and nowhere else: whoever answers with one names its constant.
//! - A row says all that does not depend on the case at hand: HTTP status, title, what it means, why it
//!   comes about, what to do, and the hint that an answer carries. `tarn explain` prints it, and
//!   `docs/ERRORS.md` is made of it.
//! - Numbers go by area: 10xx requests, 11xx topics and their schemas, 12xx SQL, 13xx processes. One that was given out is
//!   never given out again.

/// An error code with all that is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `TARN-1203`.
    pub code: &'static str,
    /// Of an answer over HTTP.
    pub status: u16,
    /// In two or three words, the same for each answer.
    pub title: &'static str,
    /// In a sentence.
    pub means: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// The next step, short enough for each answer to carry it.
    pub hint: Option<&'static str>,
}

/// `CONST: "code", status, "title"; means …; cause …; remedy …; hint …;`
macro_rules! codes {
    (@hint) => { None };
    (@hint $hint:literal) => { Some($hint) };
    ($($id:ident: $code:literal, $status:literal, $title:literal {
        means: $means:literal,
        cause: $cause:literal,
        remedy: $remedy:literal,
        $(hint: $hint:literal,)?
    })*) => {
        $(
            #[doc = $means]
            pub const $id: Code = Code {
                code: $code,
                status: $status,
                title: $title,
                means: $means,
                cause: $cause,
                remedy: $remedy,
                hint: codes!(@hint $($hint)?),
            };
        )*
        /// Every code there is, in the order of their numbers.
        pub const CODES: &[Code] = &[$($id),*];
    };
}

codes! {
    REGISTRY_NOT_NOW: "TARN-1001", 503, "Not now" {
        means: "registry: it cannot be answered now; try again",
        cause: "The process has lost touch with the commit log, is stopping, or has no memory free for the request within its time. Nothing is said to be missing or wrong by a process that does not know.",
        remedy: "Send the request again in a moment. A registration that was answered so may have happened: the same definition registered again gets the same id and version. If it stays, ask /readyz of the process what it waits for.",
        hint: "try again in a moment",
    }
    REGISTRY_BODY_TOO_LARGE: "TARN-1002", 413, "Body too large" {
        means: "registry: the body is too large",
        cause: "The body of a request to the registry takes more than 1 MiB.",
        remedy: "Leave documentation out of the definition, or describe less with it.",
    }
    REGISTRY_MALFORMED: "TARN-1003", 400, "Malformed request" {
        means: "registry: the request is malformed",
        cause: "The body is no JSON object, a field is missing or has another type, the version is no number, or the body ended before its announced length. The detail says which.",
        remedy: "POST /v1/schemas/{topic} takes {\"definition\": …, \"compatibility\": \"BACKWARD\"}, where the definition is Avro as JSON or as a text of JSON and the compatibility may be left out; GET takes ?version=3.",
    }
    TOPIC_NAME: "TARN-1101", 400, "Invalid topic name" {
        means: "no topic can have this name",
        cause: "Kafka's rule: 1 to 249 ASCII letters, digits, '.', '_' and '-', and neither '.' nor '..'.",
        remedy: "Check the path: the name of the topic is its last part, percent-encoded where it must be.",
    }
    SCHEMA_INVALID: "TARN-1111", 422, "Invalid schema" {
        means: "the schema is invalid",
        cause: "The definition does not read as Avro, names a type that it does not define, or asks for a format or for references, which are not served yet. The detail says where.",
        remedy: "Mend the definition at the place that the detail names.",
    }
    SCHEMA_COLUMNS: "TARN-1112", 422, "No table can hold the schema" {
        means: "no table can hold what the schema describes",
        cause: "The schema is valid, but no columns can be made of it: a type contains itself, types nest too deeply, there are too many columns, two names differ in upper and lower case only, a field is never anything but null, a decimal has more than 38 digits. The detail says where.",
        remedy: "Change the schema as the detail says, or create the topic without a table: it keeps its records, and SQL does not see them.",
    }
    SCHEMA_INCOMPATIBLE: "TARN-1113", 409, "Incompatible schema" {
        means: "the schema is incompatible with the versions before it",
        cause: "Its columns do not fit beside those that the topic's table has: a field changed its type in a way that Iceberg cannot follow, or its name in upper and lower case only. The detail says which.",
        remedy: "Keep the types of old fields or widen them (int to long, float to double), and give what changed a new name.",
    }
    SCHEMA_REFUSED: "TARN-1114", 422, "Schema refused" {
        means: "the schema is refused, for instance because there are too many: delete versions that nobody needs on the registry, once and again with `permanent=true`",
        cause: "A bound of the cluster is reached, or the state says no. The detail says which.",
        remedy: "Delete versions that nobody needs on the registry, once and again with permanent=true, and register again.",
    }
    NO_SUCH_SCHEMA: "TARN-1115", 404, "No such schema" {
        means: "there is no such schema or version",
        cause: "Nothing is registered under {topic}-value, or not with this version, or it was deleted. It was looked up behind a read barrier, so it is not just late.",
        remedy: "GET /subjects on the registry lists what there is, GET /subjects/{topic}-value/versions the versions.",
    }
    SQL_REQUEST: "TARN-1200", 400, "Not a query request" {
        means: "SQL: the request is not `{\"query\": \"…\", \"parameters\": […]}`",
        cause: "The body of POST /v1/sql is no JSON object with a text \"query\", or one of its \"parameters\" is a list or an object. The detail says which.",
        remedy: "Send {\"query\": \"SELECT …\"}, with quotes in the statement escaped as JSON wants them. Values for $1, $2 … go into \"parameters\": null, true, false, numbers and texts.",
        hint: "send {\"query\": \"SELECT …\"} as JSON",
    }
    NOT_SQL: "TARN-1201", 400, "Not SQL" {
        means: "it is not SQL",
        cause: "The statement does not parse. The position, counted from 1, is where the parser gave up; the mistake may be a word before it.",
        remedy: "Mend the statement there. Statements are in PostgreSQL's dialect; a request holds one.",
    }
    WRONG_SQL: "TARN-1202", 400, "Wrong SQL" {
        means: "it is SQL, but wrong here: a column that is not there, a type that does not fit",
        cause: "A column or function has another name, a type does not fit, or a value cannot be what the statement asks of it: a division by zero, a text that is no number.",
        remedy: "DESCRIBE lists a table's columns. Names with upper case, dots or dashes stand in double quotes.",
    }
    NO_SUCH_TABLE: "TARN-1203", 404, "No such table" {
        means: "there is no such table",
        cause: "No topic of this name has a table. It was looked up behind a read barrier, so it is not just late: the name is written in another way, the topic does not exist, it was created without a table, or it is one of Kafka's own.",
        remedy: "SHOW TABLES lists what there is: topics in the namespace events, what Tarn tells of itself in system. Names with upper case, dots or dashes stand in double quotes: events.\"web.clicks\".",
        hint: "SHOW TABLES lists them; names with upper case, dots or dashes stand in double quotes",
    }
    NOT_SUPPORTED: "TARN-1204", 400, "Not supported" {
        means: "the statement or function is not supported",
        cause: "SQL reads here: tables are written through their topics. Or it is a part of SQL that is not served yet.",
        remedy: "SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are what there is. Produce to the topic to write.",
    }
    TIME_LIMIT: "TARN-1205", 408, "Time limit" {
        means: "the query ran into `sql.time_limit`",
        cause: "The query, counted from its arrival and with the time that it waited for its turn, took longer than the setting allows.",
        remedy: "Read less: a condition on _timestamp, _event_time or _offset keeps files unread. Or raise the setting sql.time_limit.",
        hint: "read less, or raise the setting sql.time_limit",
    }
    MEMORY_LIMIT: "TARN-1206", 413, "Memory limit" {
        means: "the query ran into `sql.memory_limit`",
        cause: "All queries share one limit, and this one asked for more than was left: a sort, a join or a GROUP BY of many groups, or a function that makes very much of very little.",
        remedy: "Group or sort less at a time, ask again when other queries are done, or raise the setting sql.memory_limit.",
        hint: "group or sort less at a time, or raise the setting sql.memory_limit",
    }
    ROW_LIMIT: "TARN-1207", 413, "Row limit" {
        means: "the answer ran into `sql.row_limit`",
        cause: "The answer has more rows than the setting allows. None of them was left out silently.",
        remedy: "Aggregate, add a LIMIT, or raise the setting sql.row_limit. For whole tables read their Iceberg files through the catalog.",
        hint: "aggregate, add a LIMIT, or raise the setting sql.row_limit",
    }
    SQL_NOT_NOW: "TARN-1208", 503, "Not now" {
        means: "SQL: it cannot be answered now; try again",
        cause: "The process has lost touch with the commit log or with the object store, is stopping, or has no memory free for the request.",
        remedy: "Send the query again in a moment. If it stays, ask /readyz of the process what it waits for.",
        hint: "try again in a moment",
    }
    SQL_BODY_TOO_LARGE: "TARN-1209", 413, "The request is too large" {
        means: "SQL: the request is too large",
        cause: "The statement is longer than a request may be.",
        remedy: "Produce long lists of values to a topic and join with its table.",
    }
    SQL_BODY_TOO_SLOW: "TARN-1210", 408, "The request did not arrive in time" {
        means: "SQL: the request did not arrive in time",
        cause: "The client began a request and did not send all of its body.",
        remedy: "Look at what lies between client and process; a body as long as its Content-Length is enough.",
    }
    OUT_OF_RANGE: "TARN-1211", 400, "Out of range" {
        means: "SQL: a number or a moment is out of the range of its type",
        cause: "The result of an operation or a cast does not fit into its type: a sum of bigints, a timestamp beyond the calendar. Nothing wraps around silently.",
        remedy: "Cast to a wider type first, as in n::decimal(38,0).",
        hint: "cast to a wider type first, as in n::decimal(38,0)",
    }
    CANCELLED: "TARN-1212", 503, "Cancelled" {
        means: "SQL: the query was cancelled",
        cause: "Somebody ended the query, or the connection that asked for it is gone. Its place and memory are free again.",
        remedy: "Send the query again if its answer is still wanted.",
    }
    PARAMETERS: "TARN-1213", 400, "Wrong number of parameters" {
        means: "SQL: a statement needs a value for each of its parameters, and no more",
        cause: "The statement names parameters ($1, $2 …), and another number of values came with it.",
        remedy: "Send as many values as the highest number in the statement: {\"query\": \"SELECT $1::int + 1\", \"parameters\": [41]}, or tarn sql \"SELECT $1::int + 1\" -p 41.",
        hint: "send a value for each, as in {\"query\": \"SELECT $1::int + 1\", \"parameters\": [41]}",
    }
    DEFECT: "TARN-1299", 500, "A defect, or damaged data" {
        means: "a defect of Tarn, or damaged data; the log says more",
        cause: "What should not happen: a file that does not read as it was written, or a mistake of ours.",
        remedy: "Look into the log of the process at this moment, and report it with what it says.",
    }
    NODE_NAME_TAKEN: "TARN-1301", 409, "Node name taken" {
        means: "a living process of the cluster has the name of this one",
        cause: "Two processes have the same name: the setting node.name, or without it the address that clients are told. A name stands for one node id, so the second process ends. After a process was killed its name stays taken until it was not heard of for 15 s, and a new one waits for that.",
        remedy: "Give each process a name of its own with node.name, or end the other process first.",
    }
}

/// The code that somebody names: as `TARN-1203`, `tarn-1203` or `1203`.
pub fn find(named: &str) -> Option<&'static Code> {
    let upper = named.trim().to_ascii_uppercase();
    let number = upper.strip_prefix("TARN-").unwrap_or(&upper);
    CODES
        .iter()
        .find(|code| code.code.strip_prefix("TARN-") == Some(number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_stands_once_means_one_thing_and_is_explained() {
        let mut before = "";
        let mut meanings = BTreeSet::new();
        for code in CODES {
            assert!(before < code.code, "{} after {before}", code.code);
            before = code.code;
            let number = code.code.strip_prefix("TARN-").expect("our prefix");
            assert!(
                number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
                "{}",
                code.code
            );
            assert!((400..600).contains(&code.status), "{}", code.code);
            assert!(
                meanings.insert(code.means),
                "two codes mean: {}",
                code.means
            );
            for text in [code.title, code.means, code.cause, code.remedy] {
                assert!(text.len() > 5, "{}: {text:?}", code.code);
            }
            assert!(
                code.cause.ends_with('.') && code.remedy.ends_with('.'),
                "{} is explained in sentences",
                code.code
            );
        }
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for named in ["TARN-1203", "tarn-1203", " 1203 "] {
            assert_eq!(find(named), Some(&NO_SUCH_TABLE), "{named}");
        }
        for named in ["", "TARN-", "TARN-12", "TARN-9999", "KAFKA-1203", "-1203"] {
            assert_eq!(find(named), None, "{named}");
        }
    }
}
