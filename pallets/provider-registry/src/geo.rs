//! Distance between two places.
//!
//! The distance runs along the great circle of a sphere with the Earth's mean radius. The Earth is flattened,
//! so the way along the real ground differs by up to about half a percent. That is below what a choice of
//! machines by distance cares about.
//!
//! # Why fixed point
//!
//! All nodes must agree on a distance to the bit, whether they run the runtime as WebAssembly or natively.
//! Sines of floating-point numbers come from a mathematics library and differ between libraries and
//! compilers. Here every number is an integer: a real number `x` below 4 is held as `x · 2^62` (Q62 below) in
//! a `u64`, a square as `x² · 2^124` (Q124) in a `u128`. Nothing here can panic: locations that are not on
//! the Earth are moved to the nearest latitude and longitude that are, and the arithmetic saturates, though
//! no value comes to the end of its type.
//!
//! A search and an order compute one distance for each machine that they look at, and WebAssembly has no
//! instructions for 128 bits. So the series are computed in 64: only products of two numbers and what the
//! series begin and end with need more.
//!
//! # How
//!
//! The haversine formula, `sin²(c/2) = sin²(Δφ/2) + cos φ₁ · cos φ₂ · sin²(Δλ/2)`, keeps its precision for
//! places that are metres apart, but loses it near the antipode, where the sine of `c/2` is flat. So pairs
//! more than a quarter turn apart are measured from the antipode of one of them, which is exact in
//! micro-degrees, and taken off the half turn. The inverse sine then never sees more than `1/√2`, where its
//! series converges fast. The series have a fixed number of terms: a call evaluates at most six sines, one
//! inverse sine and two square roots, for every input.
//!
//! # Accuracy
//!
//! Before it is rounded to whole metres, the distance is within 0.01 mm of the exact one on the sphere, all
//! over the globe; so the result is the exact distance rounded to the nearest metre, or its other neighbour
//! where the exact one lies within 0.01 mm of the middle of two. The tests compare with distances computed to
//! 50 digits, and for thousands of random pairs (anywhere, close together, nearly antipodal, near a pole)
//! with two formulas in `f64`: the haversine, and a form of the inverse tangent that is precise at every
//! distance and shares no step with the code here.

use assay_primitives::machine::Location;

/// Fractional bits of a Q62 number.
const FRACTION_BITS: u32 = 62;

/// 1 as Q62.
const ONE: u64 = 1 << FRACTION_BITS;

/// 1/2 as Q124.
const HALF_SQUARED: u128 = 1 << 123;

/// π as Q62, rounded to the nearest.
const PI: u64 = 0xC90F_DAA2_2168_C235;

/// A quarter turn as Q62 radians.
const QUARTER_TURN: u64 = PI >> 1;

/// Largest latitude and, to the south, smallest, in micro-degrees.
const POLE_MICRODEGREES: i32 = 90_000_000;

/// Largest longitude and, to the west, smallest, in micro-degrees: the two are one meridian.
const DATE_LINE_MICRODEGREES: i32 = 180_000_000;

/// Half a turn in micro-degrees.
const HALF_TURN_MICRODEGREES: u32 = 180_000_000;

/// A whole turn in micro-degrees.
const FULL_TURN_MICRODEGREES: u32 = 360_000_000;

/// Twice the Earth's mean radius of 6,371,008.8 m (IUGG), in decimetres.
const EARTH_DIAMETER_DM: u128 = 127_420_176;

/// Terms of the sine's series after the first. The next one is below one unit of Q62 up to a quarter turn.
/// Fewer than eight miss the accuracy that the module states.
const SINE_TERMS: u64 = 11;

/// Terms of the inverse sine's series after the first. The rest of the series adds at most 3 µm on the
/// ground; four terms fewer make that 57 µm.
const ARCSINE_TERMS: u64 = 32;

/// Distance between two places along the ground, in metres, rounded to the nearest.
///
/// Symmetric, zero for a place and itself (a pole at two longitudes and the 180° meridian from both sides
/// included), and at most 20,015,114, the way to the antipode. Angles out of range count as the nearest in
/// range.
pub(crate) fn distance_m(from: Location, to: Location) -> u32 {
    const DECIMETRES_PER_METRE: u128 = 10;

    let decimetres = u128::from(half_angle(from, to)).saturating_mul(EARTH_DIAMETER_DM);
    let metre = u128::from(ONE).saturating_mul(DECIMETRES_PER_METRE);
    let metres = decimetres.saturating_add(metre / 2) / metre;
    u32::try_from(metres).unwrap_or(u32::MAX)
}

/// Half of the angle between two places as seen from the centre of the Earth, in Q62 radians.
fn half_angle(from: Location, to: Location) -> u64 {
    let [from_latitude, to_latitude] = [from, to].map(|place| {
        place
            .latitude_microdegrees
            .clamp(-POLE_MICRODEGREES, POLE_MICRODEGREES)
    });
    let [from_longitude, to_longitude] = [from, to].map(|place| {
        place
            .longitude_microdegrees
            .clamp(-DATE_LINE_MICRODEGREES, DATE_LINE_MICRODEGREES)
    });

    let northing = from_latitude.abs_diff(to_latitude);
    let eastward = from_longitude.abs_diff(to_longitude);
    let easting = eastward.min(FULL_TURN_MICRODEGREES.saturating_sub(eastward));
    // Geometric mean of the cosines: it stays Q62 and can be multiplied before squaring.
    let narrowing = root(widen(cosine(from_latitude), cosine(to_latitude)));

    let squared_sine = haversine(northing, easting, narrowing);
    if squared_sine <= HALF_SQUARED {
        return arcsine(root(squared_sine));
    }
    // The antipode of `to` lies at its latitude negated, half a turn away.
    let antipodal_northing = from_latitude.saturating_add(to_latitude).unsigned_abs();
    let antipodal_easting = HALF_TURN_MICRODEGREES.saturating_sub(easting);
    let squared_sine = haversine(antipodal_northing, antipodal_easting, narrowing);
    QUARTER_TURN.saturating_sub(arcsine(root(squared_sine)))
}

/// Squared sine, in Q124, of half of the angle between two places that lie `northing` and `easting`
/// micro-degrees apart, where `narrowing` is the geometric mean of the cosines of their latitudes.
fn haversine(northing: u32, easting: u32, narrowing: u64) -> u128 {
    let along_meridian = sine_of_half(northing);
    let along_parallel = multiply(sine_of_half(easting), narrowing);
    widen(along_meridian, along_meridian).saturating_add(widen(along_parallel, along_parallel))
}

/// Cosine of a latitude, as Q62: the sine of what is missing to the pole.
fn cosine(latitude_microdegrees: i32) -> u64 {
    let latitude = latitude_microdegrees.unsigned_abs();
    sine_of_half(HALF_TURN_MICRODEGREES.saturating_sub(latitude.saturating_mul(2)))
}

/// Sine, as Q62, of half of an angle of at most half a turn.
///
/// Taylor's series, nested: `x · (1 − x²/(2·3) · (1 − x²/(4·5) · (1 − …)))`.
fn sine_of_half(microdegrees: u32) -> u64 {
    let angle = narrow(widen(microdegrees.into(), PI) / u128::from(FULL_TURN_MICRODEGREES));
    let square = multiply(angle, angle);
    let series = (1..=SINE_TERMS).rev().fold(ONE, |inner, term| {
        let even = term.saturating_mul(2);
        let divisor = even.saturating_mul(even.saturating_add(1));
        ONE.saturating_sub(multiply(square, inner) / divisor)
    });
    // Rounding may not carry it over the top.
    multiply(angle, series).min(ONE)
}

/// Angle, in Q62 radians, whose sine is `sine`, which is about `1/√2` at most.
///
/// Newton's series, nested: `x · (1 + x²·1²/(2·3) · (1 + x²·3²/(4·5) · (1 + …)))`.
fn arcsine(sine: u64) -> u64 {
    let square = multiply(sine, sine);
    let series = (1..=ARCSINE_TERMS).rev().fold(ONE, |inner, term| {
        let even = term.saturating_mul(2);
        let odd = even.saturating_sub(1);
        let divisor = even.saturating_mul(even.saturating_add(1));
        ONE.saturating_add(fraction_of(
            multiply(square, inner),
            odd.saturating_mul(odd),
            divisor,
        ))
    });
    multiply(sine, series)
}

/// Product of two Q62 numbers, rounded down. It is below 4 too.
fn multiply(left: u64, right: u64) -> u64 {
    narrow(widen(left, right) >> FRACTION_BITS)
}

/// Product of two numbers, in whole: Q124 where both are Q62.
fn widen(left: u64, right: u64) -> u128 {
    u128::from(left).saturating_mul(u128::from(right))
}

/// Square root of a Q124 number of at most 1, rounded down, as Q62.
fn root(square: u128) -> u64 {
    narrow(square.isqrt())
}

/// The number in 64 bits, which it fits everywhere here.
fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Product of a number and a proper fraction of two small numbers, rounded down once, though the product of
/// the numerators may not fit 64 bits.
fn fraction_of(number: u64, numerator: u64, denominator: u64) -> u64 {
    let (quotient, rest) = (number / denominator, number % denominator);
    quotient
        .saturating_mul(numerator)
        .saturating_add(rest.saturating_mul(numerator) / denominator)
}

#[cfg(test)]
mod tests {
    use core::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    const EARTH_RADIUS_M: f64 = 6_371_008.8;

    /// The longest distance there is: half of the circumference.
    const ANTIPODE_M: u32 = 20_015_114;

    const LONDON: Location = at(51_507_400, -127_800);
    const NORTH_POLE: Location = at(90_000_000, 0);
    const SOUTH_POLE: Location = at(-90_000_000, 0);
    const ORIGIN: Location = at(0, 0);

    const fn at(latitude_microdegrees: i32, longitude_microdegrees: i32) -> Location {
        Location {
            latitude_microdegrees,
            longitude_microdegrees,
        }
    }

    /// The distance before it is rounded to metres.
    fn unrounded_m(from: Location, to: Location) -> f64 {
        half_angle(from, to) as f64 / ONE as f64 * 2.0 * EARTH_RADIUS_M
    }

    fn radians(microdegrees: i32) -> f64 {
        f64::from(microdegrees) * PI / 180e6
    }

    /// Difference of the longitudes in radians; subtracted as integers, so that close pairs keep their
    /// digits.
    fn easting_radians(from: Location, to: Location) -> f64 {
        radians(to.longitude_microdegrees - from.longitude_microdegrees)
    }

    /// The usual formula. Near the antipode it is off by decimetres.
    fn haversine_m(from: Location, to: Location) -> f64 {
        let northing = radians(to.latitude_microdegrees - from.latitude_microdegrees);
        let cosines = radians(from.latitude_microdegrees).cos() * radians(to.latitude_microdegrees).cos();
        let squared_sine =
            (northing / 2.0).sin().powi(2) + cosines * (easting_radians(from, to) / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_M * squared_sine.sqrt().min(1.0).asin()
    }

    /// The spherical case of Vincenty's formula: precise at every distance.
    fn vincenty_m(from: Location, to: Location) -> f64 {
        let (from_sine, from_cosine) = radians(from.latitude_microdegrees).sin_cos();
        let (to_sine, to_cosine) = radians(to.latitude_microdegrees).sin_cos();
        let (sine, cosine) = easting_radians(from, to).sin_cos();
        let across = (to_cosine * sine).hypot(from_cosine * to_sine - from_sine * to_cosine * cosine);
        let along = from_sine * to_sine + from_cosine * to_cosine * cosine;
        EARTH_RADIUS_M * across.atan2(along)
    }

    fn anywhere() -> impl Strategy<Value = Location> {
        (-90_000_000..=90_000_000, -180_000_000..=180_000_000)
            .prop_map(|(latitude, longitude)| at(latitude, longitude))
    }

    /// A place at most about 11 m from a pole.
    fn near_a_pole() -> impl Strategy<Value = Location> {
        let latitude = prop_oneof![-90_000_000..=-89_999_900, 89_999_900..=90_000_000];
        (latitude, -180_000_000..=180_000_000).prop_map(|(latitude, longitude)| at(latitude, longitude))
    }

    /// Two places that are metres, hundreds of metres or some kilometres apart.
    fn close_pair() -> impl Strategy<Value = (Location, Location)> {
        let offset = prop_oneof![Just(20), Just(2_000), Just(50_000)]
            .prop_flat_map(|most: i32| (-most..=most, -most..=most));
        (prop_oneof![9 => anywhere(), 1 => near_a_pole()], offset).prop_map(|(place, (northing, easting))| {
            let latitude = (place.latitude_microdegrees + northing).clamp(-90_000_000, 90_000_000);
            let longitude = place.longitude_microdegrees + easting;
            let wrapped = (longitude + 180_000_000).rem_euclid(360_000_000) - 180_000_000;
            (place, at(latitude, wrapped))
        })
    }

    fn antipode(place: Location) -> Location {
        let turn = if place.longitude_microdegrees > 0 {
            -180_000_000
        } else {
            180_000_000
        };
        at(-place.latitude_microdegrees, place.longitude_microdegrees + turn)
    }

    fn nearly_antipodal_pair() -> impl Strategy<Value = (Location, Location)> {
        close_pair().prop_map(|(from, to)| (from, antipode(to)))
    }

    fn any_numbers() -> impl Strategy<Value = Location> {
        (any::<i32>(), any::<i32>()).prop_map(|(latitude, longitude)| at(latitude, longitude))
    }

    fn assert_accurate(from: Location, to: Location) -> Result<(), TestCaseError> {
        let distance = f64::from(distance_m(from, to));
        let haversine = haversine_m(from, to);
        let vincenty = vincenty_m(from, to);

        prop_assert!(
            (distance - haversine).abs() <= 1.0,
            "{distance} m by fixed point, {haversine} m by the haversine"
        );
        let unrounded = unrounded_m(from, to);
        prop_assert!(
            (unrounded - vincenty).abs() <= 1e-5,
            "{unrounded} m by fixed point, {vincenty} m by Vincenty"
        );
        prop_assert!((distance - unrounded).abs() <= 0.5 + 1e-5);
        Ok(())
    }

    /// The distances were computed to 50 digits from the vectors to the two places, and stand here to the
    /// millimetre.
    #[test]
    fn distance_between_cities_works() {
        let new_york = at(40_712_800, -74_006_000);
        let (berlin, potsdam) = (at(52_520_000, 13_405_000), at(52_390_600, 13_064_500));
        let (frankfurt, singapore) = (at(50_110_900, 8_682_100), at(1_352_100, 103_819_800));
        let (sydney, sao_paulo) = (at(-33_868_800, 151_209_300), at(-23_550_500, -46_633_300));
        let (tokyo, san_francisco) = (at(35_676_200, 139_650_300), at(37_774_900, -122_419_400));
        let (suva, apia) = (at(-18_141_600, 178_441_900), at(-13_833_300, -171_766_700));
        let (madrid, wellington) = (at(40_416_800, -3_703_800), at(-41_286_500, 174_776_200));

        for (from, to, exact_m) in [
            (berlin, potsdam, 27_191.213),
            (LONDON, at(48_856_600, 2_352_200), 343_556.535),
            (suva, apia, 1_150_703.566),
            (LONDON, new_york, 5_570_229.874),
            (tokyo, san_francisco, 8_274_626.408),
            (frankfurt, singapore, 10_258_049.017),
            (sydney, sao_paulo, 13_357_224.471),
            (madrid, wellington, 19_854_817.678),
        ] {
            assert_eq!(f64::from(distance_m(from, to)), f64::round(exact_m));
            assert_eq!(distance_m(to, from), distance_m(from, to));
            assert!((unrounded_m(from, to) - exact_m).abs() < 1e-3);
        }
    }

    #[test]
    fn distance_along_the_grid_works() {
        // A degree, on a meridian and on the equator.
        assert_eq!(distance_m(ORIGIN, at(1_000_000, 0)), 111_195);
        assert_eq!(distance_m(ORIGIN, at(0, -1_000_000)), 111_195);
        // At 60° a degree of longitude is half as long, less a trifle: the great circle cuts the corner.
        assert_eq!(distance_m(at(60_000_000, 0), at(60_000_000, 1_000_000)), 55_597);
        // A quarter of the way around, where the two halves of the method meet.
        for quarter in [at(90_000_000, 0), at(0, 90_000_000), at(0, -90_000_000)] {
            assert_eq!(distance_m(ORIGIN, quarter), 10_007_557);
        }
        assert_eq!(distance_m(ORIGIN, at(0, 89_999_991)), 10_007_556);
        assert_eq!(distance_m(ORIGIN, at(0, 90_000_009)), 10_007_558);
    }

    #[test]
    fn distance_of_a_few_microdegrees_is_rounded() {
        // A micro-degree is 0.111 m.
        assert_eq!(distance_m(ORIGIN, at(4, 0)), 0);
        assert_eq!(distance_m(ORIGIN, at(5, 0)), 1);
        assert_eq!(distance_m(ORIGIN, at(0, 13)), 1);
        assert_eq!(distance_m(ORIGIN, at(0, 14)), 2);
    }

    #[test]
    fn distance_to_the_antipode_works() {
        assert_eq!(distance_m(NORTH_POLE, SOUTH_POLE), ANTIPODE_M);
        assert_eq!(distance_m(ORIGIN, at(0, 180_000_000)), ANTIPODE_M);
        assert_eq!(distance_m(ORIGIN, at(0, -180_000_000)), ANTIPODE_M);
        assert_eq!(distance_m(LONDON, antipode(LONDON)), ANTIPODE_M);
        // Nine micro-degrees are a metre there too.
        assert_eq!(distance_m(ORIGIN, at(0, 179_999_991)), ANTIPODE_M - 1);
    }

    #[test]
    fn a_pole_is_one_place() {
        for (pole, latitude) in [(NORTH_POLE, 90_000_000), (SOUTH_POLE, -90_000_000)] {
            for longitude in [-180_000_000, -77_000_000, 1, 90_000_000, 180_000_000] {
                assert_eq!(distance_m(pole, at(latitude, longitude)), 0);
                assert_eq!(distance_m(ORIGIN, at(latitude, longitude)), 10_007_557);
            }
        }
        // Across the pole: ten micro-degrees down either side.
        assert_eq!(distance_m(at(89_999_990, 0), at(89_999_990, 180_000_000)), 2);
    }

    #[test]
    fn the_date_line_is_one_meridian() {
        for latitude in [-90_000_000, -16_500_000, 0, 65_000_000, 90_000_000] {
            let (west, east) = (at(latitude, -180_000_000), at(latitude, 180_000_000));
            assert_eq!(distance_m(west, east), 0);
            assert_eq!(distance_m(LONDON, west), distance_m(LONDON, east));
        }
        assert_eq!(distance_m(at(0, 179_999_991), at(0, -179_999_991)), 2);
    }

    #[test]
    fn locations_off_the_earth_count_as_the_nearest_on_it() {
        assert_eq!(distance_m(at(i32::MAX, i32::MAX), NORTH_POLE), 0);
        assert_eq!(distance_m(at(i32::MIN, i32::MIN), SOUTH_POLE), 0);
        assert_eq!(distance_m(at(i32::MIN, 0), at(i32::MAX, 0)), ANTIPODE_M);
        assert_eq!(distance_m(at(0, i32::MIN), at(0, i32::MAX)), 0);
        assert_eq!(distance_m(at(0, i32::MIN), ORIGIN), ANTIPODE_M);
        assert_eq!(distance_m(at(90_000_001, 0), NORTH_POLE), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn distance_is_accurate_anywhere(from in anywhere(), to in anywhere()) {
            assert_accurate(from, to)?;
        }

        #[test]
        fn distance_is_accurate_close_by((from, to) in close_pair()) {
            assert_accurate(from, to)?;
        }

        #[test]
        fn distance_is_accurate_near_the_antipode((from, to) in nearly_antipodal_pair()) {
            assert_accurate(from, to)?;
        }

        #[test]
        fn distance_is_accurate_near_the_poles(from in near_a_pole(), to in near_a_pole()) {
            assert_accurate(from, to)?;
        }

        /// Also that nothing panics, whatever the numbers: the tests are built with overflow checks.
        #[test]
        fn distance_is_symmetric_and_bounded(from in any_numbers(), to in any_numbers()) {
            let distance = distance_m(from, to);
            prop_assert_eq!(distance, distance_m(to, from));
            prop_assert!(distance <= ANTIPODE_M);
        }

        #[test]
        fn distance_to_oneself_is_zero_and_to_the_antipode_the_longest(place in any_numbers()) {
            prop_assert_eq!(distance_m(place, place), 0);
            let place = at(
                place.latitude_microdegrees.clamp(-90_000_000, 90_000_000),
                place.longitude_microdegrees.clamp(-180_000_000, 180_000_000),
            );
            prop_assert_eq!(distance_m(place, antipode(place)), ANTIPODE_M);
        }

        /// A detour is never shorter, but for what rounding three distances may hide.
        #[test]
        fn a_detour_is_never_shorter((from, to) in prop_oneof![(anywhere(), anywhere()), close_pair()],
                                     near_by in close_pair(),
                                     far_off in anywhere()) {
            for via in [near_by.0, far_off, from, to] {
                let detour = distance_m(from, via) + distance_m(via, to);
                prop_assert!(distance_m(from, to) <= detour + 1);
            }
            prop_assert!(distance_m(near_by.0, far_off)
                <= distance_m(near_by.0, near_by.1) + distance_m(near_by.1, far_off) + 1);
        }
    }
}
