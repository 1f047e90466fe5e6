//! Why a command failed, as an exit code that scripts can use, and what to do next where that is known.

use std::fmt;
use std::io;
use std::process::ExitCode;

use tarn_model::Kind;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    next: Option<String>,
    is_unread: bool,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Failure {
        Failure {
            kind,
            message: message.to_string(),
            next: None,
            is_unread: false,
        }
    }

    /// Standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> Failure {
        Failure {
            is_unread: error.kind() == io::ErrorKind::BrokenPipe,
            ..Failure::new(Kind::Internal, format!("standard output: {error}"))
        }
    }

    /// Whoever read standard output has seen enough, and nothing is wrong.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// With the next step, as sentences of their own.
    #[must_use]
    pub(crate) fn next(self, step: impl Into<Option<String>>) -> Failure {
        Failure {
            next: step.into(),
            ..self
        }
    }

    pub(crate) fn invalid(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Invalid, message)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Invalid => 2,
            Kind::NotFound => 3,
            Kind::Denied => 4,
            Kind::Overloaded | Kind::Unavailable => 5,
            Kind::Conflict | Kind::Fenced | Kind::Corrupt | Kind::Internal => 1,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(next) => write!(f, "\n      {next}"),
            None => Ok(()),
        }
    }
}

/// The innermost cause of an error, which is what went wrong: `Connection refused (os error 111)`.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}
