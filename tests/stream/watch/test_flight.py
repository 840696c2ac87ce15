"""The flight log: what lies between its rows, and that nothing but a whole log is taken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream.watch.flight import LIMITS, Fix, Flight, load
from edge_mpq.errors import DataError

HEAD = "time_s,lat,lon,alt_m,heading\n"


def _fix(**changed):
    return Fix(**{"time_s": 0.0, "lat": 46.0, "lon": 7.0, "alt_m": 100.0, "heading": 0.0, **changed})


def _apart(one, other):
    """Degrees between two angles, the shorter way."""
    return abs((one - other + 180) % 360 - 180)


angles = st.floats(-180, 180)


@given(angles, angles, st.floats(0, 10))
def test_between_two_rows_angles_turn_the_shorter_way(first, last, time_s):
    flight = Flight([_fix(lon=first, heading=first % 360), _fix(time_s=10.0, lon=last, heading=last % 360)])
    fix = flight.at(time_s)
    whole = _apart(first, last)
    for value in (fix.lon, fix.heading):
        assert _apart(value, first) == pytest.approx(whole * time_s / 10, abs=1e-6)
        assert _apart(value, last) == pytest.approx(whole * (10 - time_s) / 10, abs=1e-6)
    assert -180 <= fix.lon <= 180 and 0 <= fix.heading <= 360


def test_across_the_date_line_and_across_north():
    flight = Flight([_fix(lon=179.0, heading=350.0), _fix(time_s=4.0, lon=-179.0, heading=10.0)])
    assert flight.at(1.0).lon == pytest.approx(179.5) and flight.at(3.0).lon == pytest.approx(-179.5)
    assert flight.at(1.0).heading == pytest.approx(355.0) and flight.at(3.0).heading == pytest.approx(5.0)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20, unique=True), st.floats(-10, 1010))
def test_rows_are_met_and_beyond_them_there_is_nothing(times, time_s):
    fixes = [_fix(time_s=time, alt_m=time) for time in sorted(times)]
    flight = Flight(fixes)
    assert [flight.at(fix.time_s) for fix in fixes] == fixes
    found = flight.at(time_s)
    assert (found is None) == (not min(times) <= time_s <= max(times))
    assert found is None or found.alt_m == pytest.approx(time_s, abs=1e-6)


def test_both_forms_hold_the_same(tmp_path):
    fixes = [_fix(time_s=float(time), pitch=-80.0 - time) for time in range(3)]
    rows = [fix._asdict() for fix in fixes]
    names = ["pitch", "lon", "lat", "heading", "time_s", "alt_m"]
    table = [",".join(names)] + [",".join(str(row[name]) for name in names) for row in rows]
    (tmp_path / "a.csv").write_text("\ufeff" + "\r\n".join(table) + "\r\n\r\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert load(tmp_path / "a.csv").fixes == load(tmp_path / "a.jsonl").fixes == fixes


def test_without_pitch_the_camera_looks_straight_down(tmp_path):
    (tmp_path / "a.csv").write_text(HEAD + "0,46,7,100,0\n")
    assert load(tmp_path / "a.csv").fixes == [_fix()] and _fix().pitch == -90


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "has the columns nothing in line 1"),
        (HEAD, "has no rows"),
        (
            "time,lat,lon,alt_m,heading\n0,1,2,3,4\n",
            "columns alt_m, heading, lat, lon, time in line 1, not time_s, lat",
        ),
        ("time_s,lat,lon,alt_m\n0,1,2,3\n", "not time_s, lat, lon, alt_m, heading and, if at all, pitch"),
        (HEAD.strip() + ",speed\n0,1,2,3,4,5\n", "columns .*speed"),
        (HEAD.strip() + ",lat\n0,1,2,3,4,1\n", "has the columns"),
        (HEAD + "0,1,2,3\n", "4 values for 5 columns in line 2"),
        (HEAD + "0,1,2,3,4\n1,1,2", "3 values for 5 columns in line 3"),
        (HEAD + "0,91,2,3,4\n", "lat '91' in line 2, not -89 to 89"),
        (HEAD + "0,1,181,3,4\n", "lon '181' in line 2"),
        (HEAD + "0,1,2,nan,4\n", "alt_m 'nan' in line 2"),
        (HEAD + "0,1,2,x,4\n", "alt_m 'x'"),
        (HEAD + "-1,1,2,3,4\n", "time_s '-1'"),
        (HEAD + "0,1,2,3,361\n", "heading '361'"),
        (HEAD + "1,1,2,3,4\n0,1,2,3,4\n", "goes back in time in line 3"),
        (HEAD + "1,1,2,3,4\n1,1,2,3,4\n", "goes back in time in line 3"),
        (HEAD + '0,"1,2,3,4\n', "flight log"),
        ('{"time_s": 0, "lat": 1, "lon": 2, "alt_m": 3, "heading": 4}\n{"time_s": 1, "la', "no JSON in line 2"),
        ('{"time_s": 0, "lat": 1}\n', "has the columns lat, time_s in line 1"),
        ('{"time_s": 0, "lat": true, "lon": 2, "alt_m": 3, "heading": 4}\n', "lat True"),
        ('{"time_s": 0, "lat": null, "lon": 2, "alt_m": 3, "heading": 4}\n', "lat None"),
        ('{"time_s": 0, "lat": 1e999, "lon": 2, "alt_m": 3, "heading": 4}\n', "lat inf"),
        ('{"time_s": 0, "lat": ' + "1" * 400 + ', "lon": 2, "alt_m": 3, "heading": 4}\n', "lat 1111"),
        ("{" * 100000, "no JSON in line 1|recursion"),
        ('{"time_s": 0, "lat": 1, "lon": 2, "alt_m": 3, "heading": 4}\n[1]\n', "no object in line 2"),
    ],
)
def test_what_is_no_flight_log_is_refused_with_its_line(tmp_path, text, said):
    (tmp_path / "log").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        load(tmp_path / "log")


def test_no_file_a_folder_and_bytes_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="there is no flight log"):
            load(path)
    (tmp_path / "video").write_bytes(b"\x00\xff\xfe\x80" * 100)
    with pytest.raises(DataError, match="docs/watch.md"):
        load(tmp_path / "video")


@given(st.text(max_size=200))
def test_no_text_ends_in_anything_but_a_log_or_a_clear_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert load(path).fixes
    except DataError as error:
        assert "docs/watch.md" in error.mend


def test_the_limits_are_of_every_column():
    assert tuple(LIMITS) == Fix._fields
