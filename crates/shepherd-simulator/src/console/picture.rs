//! What is on a simulated screen: coloured bands, a pattern made from the machine's name, and everything the
//! client has typed and pointed at.

use super::pixel::Colour;

/// Width of the screen in pixels.
pub(crate) const WIDTH: u16 = 320;
/// Height of the screen in pixels.
pub(crate) const HEIGHT: u16 = 200;

/// The bands, from left to right.
const BANDS: [Colour; 8] = [
    [192, 192, 192],
    [192, 192, 0],
    [0, 192, 192],
    [0, 192, 0],
    [192, 0, 192],
    [192, 0, 0],
    [0, 0, 192],
    [32, 32, 32],
];
/// Where the bands end and the typed keys begin.
const BANDS_END: u16 = 104;
/// Side of the cell a typed key leaves.
const CELL: u16 = 8;
const BACKGROUND: Colour = [0, 0, 0];
const CURSOR: Colour = [255, 255, 255];
/// How far the cursor's arms reach from the pointer.
const ARM: u16 = 4;
/// What a pressed button leaves.
const INK: Colour = [255, 64, 0];
/// Side of one square of the pattern, which has eight by eight of them.
const SQUARE: u16 = 8;
/// Upper left corner of the pattern.
const PATTERN: (u16, u16) = (128, 20);

/// A rectangle of the screen; it may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    /// Left edge.
    pub x: u16,
    /// Upper edge.
    pub y: u16,
    /// Width.
    pub width: u16,
    /// Height.
    pub height: u16,
}

impl Area {
    /// The whole screen.
    pub const SCREEN: Self = Self {
        x: 0,
        y: 0,
        width: WIDTH,
        height: HEIGHT,
    };

    /// The part both have in common, `None` when there is none.
    pub fn common(self, other: Self) -> Option<Self> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let right = self.right().min(other.right());
        let bottom = self.bottom().min(other.bottom());
        (x < right && y < bottom).then(|| Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        })
    }

    /// The smallest rectangle around both.
    pub fn around(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Self {
            x,
            y,
            width: self.right().max(other.right()) - x,
            height: self.bottom().max(other.bottom()) - y,
        }
    }

    fn right(self) -> u16 {
        self.x.saturating_add(self.width)
    }

    fn bottom(self) -> u16 {
        self.y.saturating_add(self.height)
    }
}

/// The screen of one machine.
#[derive(Debug)]
pub(crate) struct Picture {
    pixels: Vec<Colour>,
    pointer: (u16, u16),
    /// Keys typed so far; they fill the lower part from left to right and start over when it is full.
    typed: u16,
    /// What changed since it was last taken.
    changed: Option<Area>,
}

impl Picture {
    /// The screen before any input. The same name always gives the same picture.
    pub fn of(name: &str) -> Self {
        let mut picture = Self {
            pixels: vec![BACKGROUND; usize::from(WIDTH) * usize::from(HEIGHT)],
            pointer: (WIDTH / 2, HEIGHT / 2),
            typed: 0,
            changed: None,
        };
        for (colour, column) in BANDS.iter().zip(0_u16..) {
            let width = WIDTH / 8;
            picture.fill(
                Area {
                    x: column * width,
                    y: 0,
                    width,
                    height: BANDS_END,
                },
                *colour,
            );
        }
        let hash = hash_of(name.as_bytes());
        for bit in (0_u16..64).filter(|bit| (hash >> *bit) & 1 == 1) {
            let (x, y) = PATTERN;
            let square = Area {
                x: x + (bit % 8) * SQUARE,
                y: y + (bit / 8) * SQUARE,
                width: SQUARE,
                height: SQUARE,
            };
            picture.fill(square, BACKGROUND);
        }
        picture.changed = None;
        picture
    }

    /// A pressed key leaves a cell in a colour of its own.
    pub fn press(&mut self, key: u32) {
        let columns = WIDTH / CELL;
        let rows = (HEIGHT - BANDS_END) / CELL;
        let [red, green, blue, ..] = hash_of(&key.to_be_bytes()).to_be_bytes();
        let cell = Area {
            x: (self.typed % columns) * CELL,
            y: BANDS_END + (self.typed / columns) * CELL,
            width: CELL,
            height: CELL,
        };
        // Never as dark as the background, so that every key can be seen.
        self.fill(cell, [red | 64, green | 64, blue | 64]);
        self.typed = (self.typed + 1) % (columns * rows);
    }

    /// Moves the pointer; with a button down it leaves a dot.
    pub fn point(&mut self, x: u16, y: u16, buttons: u8) {
        let (x, y) = (x.min(WIDTH - 1), y.min(HEIGHT - 1));
        if (x, y) != self.pointer {
            self.touch(cursor_area(self.pointer));
            self.pointer = (x, y);
            self.touch(cursor_area(self.pointer));
        }
        if buttons != 0 {
            let dot = Area {
                x: x.saturating_sub(1),
                y: y.saturating_sub(1),
                width: 3,
                height: 3,
            };
            self.fill(dot, INK);
        }
    }

    /// The colour of a pixel, the cursor included; outside of the screen it is the background.
    pub fn colour(&self, x: u16, y: u16) -> Colour {
        let (px, py) = self.pointer;
        if (x == px && y.abs_diff(py) <= ARM) || (y == py && x.abs_diff(px) <= ARM) {
            return CURSOR;
        }
        self.pixels.get(index_of(x, y)).copied().unwrap_or(BACKGROUND)
    }

    /// All pixels, row by row.
    pub fn pixels(&self) -> Vec<Colour> {
        (0..HEIGHT)
            .flat_map(|y| (0..WIDTH).map(move |x| self.colour(x, y)))
            .collect()
    }

    /// What changed since it was last taken.
    pub fn changed(&self) -> Option<Area> {
        self.changed
    }

    /// Forgets changes inside of `seen`. A change that is only partly inside stays, as one rectangle.
    pub fn forget(&mut self, seen: Area) {
        if self
            .changed
            .is_some_and(|changed| changed.common(seen) == Some(changed))
        {
            self.changed = None;
        }
    }

    fn fill(&mut self, area: Area, colour: Colour) {
        let Some(area) = area.common(Area::SCREEN) else { return };
        for y in area.y..area.bottom() {
            for x in area.x..area.right() {
                if let Some(pixel) = self.pixels.get_mut(index_of(x, y)) {
                    *pixel = colour;
                }
            }
        }
        self.touch(area);
    }

    fn touch(&mut self, area: Area) {
        if let Some(area) = area.common(Area::SCREEN) {
            self.changed = Some(self.changed.map_or(area, |changed| changed.around(area)));
        }
    }
}

fn index_of(x: u16, y: u16) -> usize {
    usize::from(y) * usize::from(WIDTH) + usize::from(x)
}

fn cursor_area((x, y): (u16, u16)) -> Area {
    let (left, top) = (x.saturating_sub(ARM), y.saturating_sub(ARM));
    Area {
        x: left,
        y: top,
        width: x + ARM + 1 - left,
        height: y + ARM + 1 - top,
    }
}

/// FNV-1a: the same on every machine and in every version.
fn hash_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_can_be_told_apart() {
        assert_eq!(Picture::of("shop/web").pixels(), Picture::of("shop/web").pixels());
        assert_ne!(Picture::of("shop/web").pixels(), Picture::of("shop/db").pixels());
        assert_eq!(Picture::of("shop/web").changed(), None);
    }

    #[test]
    fn keys_leave_cells_and_say_where() {
        let mut picture = Picture::of("web");
        picture.press(u32::from(b'a'));
        picture.press(u32::from(b'b'));
        let first = picture.colour(0, BANDS_END);
        assert_ne!(first, BACKGROUND);
        assert_ne!(picture.colour(CELL, BANDS_END), first);
        let area = Area {
            x: 0,
            y: BANDS_END,
            width: 2 * CELL,
            height: CELL,
        };
        assert_eq!(picture.changed(), Some(area));
        picture.forget(Area { width: CELL, ..area });
        assert_eq!(picture.changed(), Some(area), "half of it was not seen");
        picture.forget(Area::SCREEN);
        assert_eq!(picture.changed(), None);
    }

    #[test]
    fn the_cursor_follows_the_pointer_also_at_the_edge() {
        let mut picture = Picture::of("web");
        picture.point(u16::MAX, u16::MAX, 1);
        assert_eq!(picture.colour(WIDTH - 1, HEIGHT - 1), CURSOR);
        picture.point(0, 0, 0);
        assert_eq!(picture.colour(WIDTH - 1, HEIGHT - 1), INK);
        assert_eq!(picture.colour(ARM, 0), CURSOR);
        assert_ne!(picture.colour(ARM + 1, 0), CURSOR);
    }
}
