//! Pixel formats of RFB: how a colour becomes bytes.

/// A colour, eight bits per channel: red, green, blue.
pub(crate) type Colour = [u8; 3];

/// Size of a pixel format on the wire, in bytes.
pub(crate) const FORMAT_SIZE: usize = 16;

/// A true-colour pixel format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    /// 8, 16 or 32.
    bits: u8,
    depth: u8,
    big_endian: bool,
    /// The largest value of each channel.
    max: [u16; 3],
    /// How far each channel is shifted to the left.
    shift: [u8; 3],
}

impl PixelFormat {
    /// What the server sends unless asked for something else: 32 bits, little endian, `0x00RRGGBB`.
    pub const NATIVE: Self = Self {
        bits: 32,
        depth: 24,
        big_endian: false,
        max: [255; 3],
        shift: [16, 8, 0],
    };

    /// Reads a format; `None` when it has a colour map, an odd pixel size or channels outside of the pixel.
    pub fn parse(bytes: &[u8; FORMAT_SIZE]) -> Option<Self> {
        let [
            bits,
            depth,
            big_endian,
            true_colour,
            r1,
            r0,
            g1,
            g0,
            b1,
            b0,
            red,
            green,
            blue,
            ..,
        ] = *bytes;
        let format = Self {
            bits,
            depth,
            big_endian: big_endian != 0,
            max: [[r1, r0], [g1, g0], [b1, b0]].map(u16::from_be_bytes),
            shift: [red, green, blue],
        };
        let fits = |(max, shift): (&u16, &u8)| *shift < bits && (u64::from(*max) << *shift) < (1_u64 << bits);
        let is_sound =
            true_colour != 0 && matches!(bits, 8 | 16 | 32) && format.max.iter().zip(&format.shift).all(fits);
        is_sound.then_some(format)
    }

    /// The format on the wire.
    pub fn to_bytes(self) -> [u8; FORMAT_SIZE] {
        let [[r1, r0], [g1, g0], [b1, b0]] = self.max.map(u16::to_be_bytes);
        let [red, green, blue] = self.shift;
        [
            self.bits,
            self.depth,
            u8::from(self.big_endian),
            1,
            r1,
            r0,
            g1,
            g0,
            b1,
            b0,
            red,
            green,
            blue,
            0,
            0,
            0,
        ]
    }

    /// Appends one pixel.
    pub fn write(self, colour: Colour, out: &mut Vec<u8>) {
        let value = colour
            .iter()
            .zip(self.max)
            .zip(self.shift)
            .fold(0_u32, |value, ((channel, max), shift)| {
                value | ((u32::from(*channel) * u32::from(max) / 255) << shift)
            });
        let size = usize::from(self.bits / 8);
        if self.big_endian {
            out.extend_from_slice(&value.to_be_bytes()[4 - size..]);
        } else {
            out.extend_from_slice(&value.to_le_bytes()[..size]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 bits with five, six and five bits per channel.
    fn high_colour(big_endian: u8) -> [u8; FORMAT_SIZE] {
        [16, 16, big_endian, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]
    }

    fn pixel(format: PixelFormat, colour: Colour) -> Vec<u8> {
        let mut out = Vec::new();
        format.write(colour, &mut out);
        out
    }

    #[test]
    fn the_native_format_survives_the_wire() {
        assert_eq!(
            PixelFormat::parse(&PixelFormat::NATIVE.to_bytes()),
            Some(PixelFormat::NATIVE)
        );
        assert_eq!(pixel(PixelFormat::NATIVE, [1, 2, 3]), [3, 2, 1, 0]);
    }

    #[test]
    fn sixteen_bits_come_in_both_orders() {
        let little = PixelFormat::parse(&high_colour(0)).unwrap();
        let big = PixelFormat::parse(&high_colour(1)).unwrap();
        assert_eq!(pixel(little, [255, 0, 0]), [0x00, 0xf8]);
        assert_eq!(pixel(big, [255, 0, 0]), [0xf8, 0x00]);
        assert_eq!(pixel(big, [0, 255, 0]), [0x07, 0xe0]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let mut mapped = high_colour(0);
        mapped[3] = 0;
        let mut odd = high_colour(0);
        odd[0] = 24;
        let mut outside = high_colour(0);
        outside[10] = 12;
        for format in [mapped, odd, outside] {
            assert_eq!(PixelFormat::parse(&format), None);
        }
    }
}
