package caps

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is a kernel's version. The zero Version is unknown.
type Version struct {
	Major, Minor, Patch int
	// Release is what `uname -r` prints, "6.12.103+deb12-amd64".
	Release string
	// Exact says that Patch is that of the stable kernel the release was made from. Releases like
	// "6.1.0-28-amd64" and "5.14.0-427.el9" do not tell theirs.
	Exact bool
}

// ParseVersion reads a release as `uname -r` prints it.
func ParseVersion(release string) (Version, error) {
	v := Version{Release: release}
	number, rest := leading(release)
	parts := strings.Split(number, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Version{}, fmt.Errorf("parse kernel version %q: want MAJOR.MINOR.PATCH", release)
	}
	for i, to := range []*int{&v.Major, &v.Minor, &v.Patch}[:len(parts)] {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("parse kernel version %q: %q is no number", release, parts[i])
		}
		*to = int(n)
	}
	// Distributions count their own builds behind x.y.0; release candidates have x.y.0 before there is one.
	v.Exact = v.Patch > 0 || rest == "" || !strings.HasPrefix(rest, "-")
	return v, nil
}

// WithBuild takes the stable version from `uname -v` where a distribution writes it there, as Debian does:
// "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)".
func (v Version) WithBuild(build string) Version {
	_, after, ok := strings.Cut(build, "Debian ")
	if !ok {
		return v
	}
	number, _ := leading(after)
	b, err := ParseVersion(number)
	if err != nil || b.Major != v.Major || b.Minor != v.Minor {
		return v
	}
	v.Patch, v.Exact = b.Patch, true
	return v
}

// leading cuts the digits and dots off the front of a release.
func leading(s string) (number, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		return s, ""
	}
	return strings.TrimSuffix(s[:i], "."), s[i:]
}

// Known reports whether there is a version at all.
func (v Version) Known() bool { return v.Major > 0 }

// Compare orders versions by number: -1, 0 or 1.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether the version is the named one or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Compare(Version{Major: major, Minor: minor}) >= 0
}

// Number is the version without what a distribution added.
func (v Version) Number() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// String renders the release.
func (v Version) String() string {
	switch {
	case v.Release != "":
		return v.Release
	case v.Known():
		return v.Number()
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler. A patch that the release does not tell follows it in parentheses.
func (v Version) MarshalText() ([]byte, error) {
	s := v.String()
	if r, err := ParseVersion(s); err == nil && !r.Exact && v.Exact {
		s += " (" + v.Number() + ")"
	}
	return []byte(s), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Version) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "unknown" || s == "" {
		*v = Version{}
		return nil
	}
	release, number, hasNumber := strings.Cut(s, " (")
	parsed, err := ParseVersion(release)
	if err != nil {
		return err
	}
	if hasNumber {
		n, err := ParseVersion(strings.TrimSuffix(number, ")"))
		if err != nil || parsed.Exact || !n.sameLine(parsed) || s != fmt.Sprintf("%s (%s)", release, n.Number()) {
			return fmt.Errorf("parse kernel version %q: want a stable version of %d.%d in parentheses", s, parsed.Major, parsed.Minor)
		}
		parsed.Patch, parsed.Exact = n.Patch, true
	}
	*v = parsed
	return nil
}
