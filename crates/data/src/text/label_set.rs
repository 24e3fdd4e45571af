//! The labels of a token classifier by what they say of a word, and which of them may follow one another.
//!
//! A [`LabelScheme`](super::LabelScheme) numbers labels in a fixed order; here the order is whatever a model's
//! configuration gives. Deliberately not here: the search for the best labels (`decode`).

use std::collections::BTreeMap;

use crate::{
    Error, Result,
    text::{LabelScheme, OrphanInside, Span},
};

/// What a label says of a word; the number is the entity type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Part of no entity.
    Outside,
    /// The first word of an entity.
    Begin(usize),
    /// A later word of an entity; any word of one where the type has no label for the first.
    Inside(usize),
    /// The last word of an entity of several (BIOES, BILOU).
    End(usize),
    /// The only word of an entity (BIOES, BILOU).
    Single(usize),
}

impl Role {
    /// The entity type, if the word is part of an entity.
    pub fn kind(self) -> Option<usize> {
        match self {
            Role::Outside => None,
            Role::Begin(kind) | Role::Inside(kind) | Role::End(kind) | Role::Single(kind) => {
                Some(kind)
            }
        }
    }
}

/// Labels in a model's own order.
///
/// ```
/// use metashot_data::text::{LabelSet, OrphanInside, Span};
///
/// let names = ["I-PER", "O", "B-PER"].map(String::from);
/// let labels = LabelSet::from_names(&names, OrphanInside::Reject)?;
/// assert_eq!(labels.spans(&[1, 2, 0]), [Span { label: 0, start: 1, end: 3 }]);
/// // An inside that continues nothing is passed over, and the best valid labels have none.
/// assert_eq!(labels.spans(&[1, 0, 0]), []);
/// assert_eq!(labels.decode(&[-0.1, -3.0, -3.0]), [1]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    /// Names of the entity types.
    pub types: Vec<String>,
    /// What each label says.
    pub roles: Vec<Role>,
    /// For each label, whether it may open an entity.
    opens: Vec<bool>,
}

impl LabelSet {
    /// The labels of a scheme, in its order.
    pub fn new(scheme: LabelScheme, types: &[String]) -> Self {
        let mut roles = vec![Role::Outside];
        for kind in 0..types.len() {
            match scheme {
                LabelScheme::Bio => roles.extend([Role::Begin(kind), Role::Inside(kind)]),
                LabelScheme::Io => roles.push(Role::Inside(kind)),
            }
        }
        Self::with_roles(types.to_vec(), roles, OrphanInside::Reject)
    }

    /// The labels that a configuration names: `O`, and types with the prefixes `B-` and `I-`, with those of BIOES or
    /// BILOU, or with none.
    ///
    /// With [`OrphanInside::Begin`] an `I-` may also open an entity, as it does in models that learned from IOB1.
    ///
    /// # Errors
    /// No name, or one that stands twice.
    pub fn from_names(names: &[String], orphan: OrphanInside) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::setting("labels", "1 or more", &0));
        }
        // A type such as `E-mail` has a prefix only where entities have beginnings at all.
        let has_begin = names.iter().any(|name| name.starts_with("B-"));
        let mut ids = BTreeMap::new();
        let mut types: Vec<String> = Vec::new();
        let mut roles = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(Error::setting(
                    "labels",
                    "each name once",
                    &format!("`{name}` twice"),
                ));
            }
            let (role, kind): (fn(usize) -> Role, &str) = match name.split_once('-') {
                None if name == "O" => {
                    roles.push(Role::Outside);
                    continue;
                }
                Some(("I", kind)) => (Role::Inside, kind),
                Some(("B", kind)) => (Role::Begin, kind),
                Some(("E" | "L", kind)) if has_begin => (Role::End, kind),
                Some(("S" | "U", kind)) if has_begin => (Role::Single, kind),
                _ => (Role::Inside, name),
            };
            let id = *ids.entry(kind).or_insert_with(|| {
                types.push(kind.to_owned());
                types.len() - 1
            });
            roles.push(role(id));
        }
        Ok(Self::with_roles(types, roles, orphan))
    }

    /// The spans that labels spell. A label that would continue an entity where there is none to continue, and that
    /// may not open one, is passed over.
    pub fn spans(&self, labels: &[usize]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut before = None;
        for (word, &label) in labels.iter().enumerate() {
            if let Some(kind) = self.roles[label].kind() {
                let open = spans.last_mut().filter(|open| open.end == word);
                match open {
                    Some(open) if before.is_some_and(|before| self.continues(before, label)) => {
                        open.end += 1;
                    }
                    _ if self.opens[label] => spans.push(Span {
                        label: kind,
                        start: word,
                        end: word + 1,
                    }),
                    _ => {}
                }
            }
            before = Some(label);
        }
        spans
    }

    /// Whether a label may stand where no entity goes on.
    pub(super) fn may_start(&self, label: usize) -> bool {
        self.roles[label] == Role::Outside || self.opens[label]
    }

    /// Whether a label goes on with the entity of the label before it.
    pub(super) fn continues(&self, before: usize, label: usize) -> bool {
        match (self.roles[before], self.roles[label]) {
            (Role::Begin(before) | Role::Inside(before), Role::Inside(kind) | Role::End(kind)) => {
                before == kind
            }
            _ => false,
        }
    }

    fn with_roles(types: Vec<String>, roles: Vec<Role>, orphan: OrphanInside) -> Self {
        let has_first = |kind| {
            roles.iter().any(
                |role| matches!(role, Role::Begin(first) | Role::Single(first) if *first == kind),
            )
        };
        let opens = roles
            .iter()
            .map(|&role| match role {
                Role::Outside => false,
                Role::Begin(_) | Role::Single(_) => true,
                Role::Inside(kind) | Role::End(kind) => {
                    orphan == OrphanInside::Begin || !has_first(kind)
                }
            })
            .collect();
        Self {
            types,
            roles,
            opens,
        }
    }
}
