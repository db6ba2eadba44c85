//! Pages of lists.

/// Which page of a list, within `page >= 1` and `1 <= per_page <= 100`; pages of an export hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    page: u32,
    per_page: u32,
}

impl PageRequest {
    /// Entries per page when the caller does not say.
    pub const DEFAULT_PER_PAGE: u32 = 20;
    /// Most entries per page.
    pub const MAX_PER_PAGE: u32 = 100;
    /// Most entries per page of an export.
    pub const MAX_EXPORT_PER_PAGE: u32 = 1000;
    /// Last page that can be asked for; keeps the offset within what a database can count.
    pub const MAX_PAGE: u32 = 10_000_000;

    /// A page within the limits, or `None` outside of them.
    pub fn new(page: u32, per_page: u32) -> Option<Self> {
        ((1..=Self::MAX_PAGE).contains(&page) && (1..=Self::MAX_PER_PAGE).contains(&per_page))
            .then_some(Self { page, per_page })
    }

    /// A page of an export, which holds up to [`Self::MAX_EXPORT_PER_PAGE`] entries; `None` outside of the limits.
    pub fn of_export(page: u32, per_page: u32) -> Option<Self> {
        ((1..=Self::MAX_PAGE).contains(&page) && (1..=Self::MAX_EXPORT_PER_PAGE).contains(&per_page))
            .then_some(Self { page, per_page })
    }

    /// All entries of a short list that was asked for without a page: up to 1000.
    pub fn all() -> Self {
        Self {
            page: 1,
            per_page: 1000,
        }
    }

    /// The page number, from 1.
    pub fn page(self) -> u32 {
        self.page
    }

    /// Entries per page.
    pub fn per_page(self) -> u32 {
        self.per_page
    }

    /// Rows before the page.
    pub fn offset(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.per_page)
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            page: 1,
            per_page: Self::DEFAULT_PER_PAGE,
        }
    }
}

/// One page of a list and the size of the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries of this page.
    pub items: Vec<T>,
    /// Entries of all pages that the caller may see.
    pub total: u64,
    /// What was asked for.
    pub request: PageRequest,
}

impl<T> Page<T> {
    /// The same page with every entry converted.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(convert).collect(),
            total: self.total,
            request: self.request,
        }
    }
}
