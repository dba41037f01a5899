//! The values of a document as one piece of memory: about as long as the text it was read from, made without an allocation
//! for each value, and wiped as a whole.
//!
//! A value is a mark, followed by what the mark stands for: 16 bytes of an integer, the length and the bytes of a text,
//! or the length and the values of a list or a mapping. So a reader steps over what it does not look at.

use zeroize::Zeroizing;

/// The room of a new tree. Most files of a team fit.
const ROOM_BYTES: usize = 4 << 10;

/// The bytes of a length. The limits of a document keep every tree far below 4 GiB.
const LENGTH_BYTES: usize = size_of::<u32>();

const INTEGER_BYTES: usize = size_of::<i128>();

/// Kinds of values, as a tree writes them.
mod mark {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const OTHER_NUMBER: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const LIST: u8 = 6;
    pub(super) const MAP: u8 = 7;
}

/// All values of one document.
pub(super) struct Tree(Zeroizing<Box<[u8]>>);

impl Tree {
    /// The value that holds all others.
    pub(super) fn root(&self) -> Node<'_> {
        take_node(&mut &**self.0)
    }
}

/// One value of a document, with everything below it.
#[derive(Clone, Copy)]
pub(super) enum Node<'t> {
    Null,
    Bool(bool),
    Integer(i128),
    /// A fraction, or an integer that does not fit `i128`. No key of the schema takes one.
    OtherNumber,
    /// It may be a secret.
    Text(&'t str),
    List(Sequence<'t>),
    Map(Mapping<'t>),
}

/// The values of a list.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'t>(&'t [u8]);

impl<'t> Sequence<'t> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Node<'t>> {
        let mut rest = self.0;
        std::iter::from_fn(move || (!rest.is_empty()).then(|| take_node(&mut rest)))
    }
}

/// The entries of a mapping in the file's order. No key occurs twice.
#[derive(Clone, Copy, Default)]
pub(super) struct Mapping<'t>(&'t [u8]);

impl<'t> Mapping<'t> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (&'t str, Node<'t>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || (!rest.is_empty()).then(|| (take_text(&mut rest), take_node(&mut rest))))
    }
}

fn take_node<'t>(rest: &mut &'t [u8]) -> Node<'t> {
    match take(rest, 1)[0] {
        mark::NULL => Node::Null,
        mark::FALSE => Node::Bool(false),
        mark::TRUE => Node::Bool(true),
        mark::INTEGER => {
            let bytes = take(rest, INTEGER_BYTES).try_into().expect("the number of bytes that was asked for");
            Node::Integer(i128::from_le_bytes(bytes))
        }
        mark::OTHER_NUMBER => Node::OtherNumber,
        mark::TEXT => Node::Text(take_text(rest)),
        mark::LIST => Node::List(Sequence(take_counted(rest))),
        mark::MAP => Node::Map(Mapping(take_counted(rest))),
        mark => unreachable!("no tree is written with a mark {mark}"),
    }
}

fn take_text<'t>(rest: &mut &'t [u8]) -> &'t str {
    str::from_utf8(take_counted(rest)).expect("it was written from a text")
}

/// Takes a length, and as many bytes.
fn take_counted<'t>(rest: &mut &'t [u8]) -> &'t [u8] {
    let length = take(rest, LENGTH_BYTES).try_into().expect("the number of bytes that was asked for");
    take(rest, usize::try_from(u32::from_le_bytes(length)).expect("a length in memory fits usize"))
}

fn take<'t>(rest: &mut &'t [u8], bytes: usize) -> &'t [u8] {
    rest.split_off(..bytes).expect("a tree has as many bytes as its lengths say")
}

/// Writes a tree, value by value. Whatever it held in between is wiped: a value may be a secret.
pub(super) struct TreeWriter {
    bytes: Zeroizing<Vec<u8>>,
}

/// The place at which the length of a list or a mapping has to be written.
pub(super) struct Open(usize);

impl TreeWriter {
    pub(super) fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(ROOM_BYTES)) }
    }

    pub(super) fn null(&mut self) {
        self.write(&[mark::NULL]);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.write(&[if flag { mark::TRUE } else { mark::FALSE }]);
    }

    pub(super) fn integer(&mut self, number: i128) {
        self.write(&[mark::INTEGER]);
        self.write(&number.to_le_bytes());
    }

    pub(super) fn other_number(&mut self) {
        self.write(&[mark::OTHER_NUMBER]);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.write(&[mark::TEXT]);
        self.key(text);
    }

    /// The key of a mapping's next value.
    pub(super) fn key(&mut self, key: &str) {
        self.write(&length(key.len()));
        self.write(key.as_bytes());
    }

    /// Begins a list, whose values follow.
    pub(super) fn list(&mut self) -> Open {
        self.open(mark::LIST)
    }

    /// Begins a mapping, whose keys follow, each with its value.
    pub(super) fn map(&mut self) -> Open {
        self.open(mark::MAP)
    }

    fn open(&mut self, mark: u8) -> Open {
        self.write(&[mark]);
        let open = Open(self.bytes.len());
        self.write(&[0; LENGTH_BYTES]);
        open
    }

    /// Ends a list or a mapping.
    pub(super) fn close(&mut self, Open(at): Open) {
        let begin = at + LENGTH_BYTES;
        let length = length(self.bytes.len() - begin);
        self.bytes[at..begin].copy_from_slice(&length);
    }

    pub(super) fn finish(self) -> Tree {
        Tree(Zeroizing::new(self.bytes.as_slice().into()))
    }

    fn write(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // A vector that grows by itself leaves a copy behind that nobody wipes.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(bytes).expect("the limits of a document keep its tree below 4 GiB").to_le_bytes()
}
