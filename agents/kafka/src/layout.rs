//! How the layout of a message is written down (`apis.rs` has one for every request).
//!
//! A layout lists the fields of one message struct in the order of the wire, each with the
//! versions that have it. Lengths and tagged fields follow from the version alone.

/// One struct on the wire.
#[derive(Debug)]
pub(crate) struct Layout {
    /// What the decoder allocates for one of them in an array.
    pub(crate) memory_bytes: usize,
    pub(crate) fields: &'static [Field],
    /// The tagged fields that the decoder knows; it keeps the others as they are.
    pub(crate) tagged: &'static [TaggedField],
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) versions: Versions,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) struct TaggedField {
    pub(crate) tag: u32,
    pub(crate) versions: Versions,
    pub(crate) kind: Kind,
}

/// How a field looks on the wire.
#[derive(Debug)]
pub(crate) enum Kind {
    Bool,
    /// Numbers and UUIDs: always so many bytes.
    Fixed(usize),
    String {
        nullable: bool,
    },
    Bytes {
        nullable: bool,
    },
    Array {
        nullable: bool,
        of: Element,
    },
    Struct(&'static Layout),
    /// A byte says whether it is there: 1 if it is.
    NullableStruct(&'static Layout),
}

#[derive(Debug)]
pub(crate) enum Element {
    Fixed(usize),
    String,
    Struct(&'static Layout),
}

/// The versions of the request that have a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    pub(crate) const fn contain(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

pub(crate) const ALL: Versions = Versions {
    first: 0,
    last: i16::MAX,
};

pub(crate) const fn since(first: i16) -> Versions {
    Versions {
        first,
        last: i16::MAX,
    }
}

pub(crate) const fn until(last: i16) -> Versions {
    Versions { first: 0, last }
}

pub(crate) const fn between(first: i16, last: i16) -> Versions {
    Versions { first, last }
}

pub(crate) const BOOL: Kind = Kind::Bool;
pub(crate) const INT8: Kind = Kind::Fixed(1);
pub(crate) const INT16: Kind = Kind::Fixed(2);
pub(crate) const INT32: Kind = Kind::Fixed(4);
pub(crate) const INT64: Kind = Kind::Fixed(8);
pub(crate) const UUID: Kind = Kind::Fixed(16);
pub(crate) const STRING: Kind = Kind::String { nullable: false };
pub(crate) const NULLABLE_STRING: Kind = Kind::String { nullable: true };
pub(crate) const BYTES: Kind = Kind::Bytes { nullable: false };
pub(crate) const NULLABLE_BYTES: Kind = Kind::Bytes { nullable: true };
pub(crate) const INT32_ARRAY: Kind = plain_array(Element::Fixed(4));
pub(crate) const INT8_ARRAY: Kind = plain_array(Element::Fixed(1));
pub(crate) const INT64_ARRAY: Kind = plain_array(Element::Fixed(8));
pub(crate) const STRING_ARRAY: Kind = plain_array(Element::String);
pub(crate) const NULLABLE_STRING_ARRAY: Kind = Kind::Array {
    nullable: true,
    of: Element::String,
};

pub(crate) const fn plain_array(of: Element) -> Kind {
    let nullable = false;
    Kind::Array { nullable, of }
}

pub(crate) const fn array(of: &'static Layout) -> Kind {
    plain_array(Element::Struct(of))
}

pub(crate) const fn nullable_array(of: &'static Layout) -> Kind {
    Kind::Array {
        nullable: true,
        of: Element::Struct(of),
    }
}

macro_rules! layouts {
    ($(
        $name:ident: $message:ty {
            $($versions:expr => $kind:expr,)*
            $(@tagged $tag:literal: $tagged_versions:expr => $tagged_kind:expr,)*
        }
    )*) => {
        $(
            pub(crate) static $name: Layout = Layout {
                memory_bytes: size_of::<$message>(),
                fields: &[$(Field { versions: $versions, kind: $kind }),*],
                tagged: &[$(TaggedField {
                    tag: $tag,
                    versions: $tagged_versions,
                    kind: $tagged_kind,
                }),*],
            };
        )*
    };
}
pub(crate) use layouts;
