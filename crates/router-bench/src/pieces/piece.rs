//! One piece of the router: its name, and the work that is counted.

/// The threads whose instructions count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountedThreads {
    /// The calling thread, while it is in the measured function.
    Caller,
    /// All others, as long as they run.
    Others,
}

impl CountedThreads {
    /// The word for it in the list of pieces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Others => "others",
        }
    }
}

/// A piece that is ready to be measured: running it makes all calls.
pub type ReadyPiece = Box<dyn FnMut()>;

/// One piece of the router.
pub struct Piece {
    /// Its name: what is done, and then what tells it from others, after slashes.
    pub name: String,
    /// The calls that are measured together; the figure is their mean.
    pub calls: usize,
    /// Where the work is done.
    pub threads: CountedThreads,
    prepare: Box<dyn FnOnce() -> ReadyPiece>,
}

impl Piece {
    /// A piece that works on the calling thread.
    pub(super) fn new(
        name: impl Into<String>,
        calls: usize,
        prepare: impl FnOnce() -> ReadyPiece + 'static,
    ) -> Self {
        let prepare = Box::new(prepare);
        Self { name: name.into(), calls, threads: CountedThreads::Caller, prepare }
    }

    /// The same piece, of which the work of other threads counts.
    pub(super) fn on_other_threads(self) -> Self {
        Self { threads: CountedThreads::Others, ..self }
    }

    /// Does everything that is not measured.
    pub fn prepare(self) -> ReadyPiece {
        (self.prepare)()
    }
}
