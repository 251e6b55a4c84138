package caps

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError is what is wrong with the JSON of a machine, and where.
type SyntaxError struct {
	Line, Column int    // from 1; the column counts bytes
	Field        string // "devices[2].mtu"; empty at the top
	Err          error
}

// Error renders the error as "line 3, column 12: devices[2].mtu: cause".
func (e *SyntaxError) Error() string {
	field := e.Field
	if field != "" {
		field += ": "
	}
	return fmt.Sprintf("line %d, column %d: %s%v", e.Line, e.Column, field, e.Err)
}

// Unwrap returns the cause.
func (e *SyntaxError) Unwrap() error { return e.Err }

// Decode reads a machine from JSON, also out of a report that has one (`doctor --json`). It is strict: fields that it does not know, fields that come twice, values of
// another type and control characters are errors, each a SyntaxError; so is a machine that Validate refuses, without a
// position.
func Decode(b []byte) (Machine, error) {
	d := &decoder{in: b, dec: json.NewDecoder(bytes.NewReader(b))}
	d.dec.UseNumber()
	var m Machine
	if err := d.decode(&m); err != nil {
		return Machine{}, fmt.Errorf("decode machine: %w", err)
	}
	if err := m.Validate(); err != nil {
		return Machine{}, fmt.Errorf("decode machine: %w", err)
	}
	return m, nil
}

// Encode writes a machine as JSON, indented, the same bytes for the same machine.
func (m Machine) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode machine: %w", err)
	}
	return append(b, '\n'), nil
}

// decoder walks the tokens of a JSON text beside the type that they are for, so that every error has a place.
type decoder struct {
	in  []byte
	dec *json.Decoder
}

func (d *decoder) decode(to *Machine) error {
	if !utf8.Valid(d.in) {
		return d.fail(int64(len(validPrefix(d.in))), "", errors.New("not UTF-8"))
	}
	machine, err := d.machine()
	if err != nil {
		return err
	}
	after := d.dec.InputOffset()
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return d.fail(after, "", errors.New("something follows the machine"))
	}
	if err := json.Unmarshal(machine, to); err != nil {
		return d.fail(0, "", err)
	}
	return nil
}

// machine checks the text and returns the part of it that is the machine.
func (d *decoder) machine() ([]byte, error) {
	var report struct {
		Machine json.RawMessage `json:"machine"`
	}
	if json.Unmarshal(d.in, &report) != nil || report.Machine == nil {
		return d.in, d.value(reflect.TypeFor[Machine](), "")
	}
	if _, _, err := d.token(""); err != nil {
		return nil, err
	}
	var machine []byte
	for d.dec.More() {
		tok, _, err := d.token("")
		if err != nil {
			return nil, err
		}
		if tok != "machine" {
			if err := d.dec.Decode(new(json.RawMessage)); err != nil {
				return nil, d.fail(d.start(), "", err)
			}
			continue
		}
		at := d.start()
		if err := d.value(reflect.TypeFor[Machine](), "machine"); err != nil {
			return nil, err
		}
		machine = d.in[at:d.dec.InputOffset()]
	}
	_, _, err := d.token("")
	return machine, err
}

// token reads one token; at is where it begins.
func (d *decoder) token(field string) (tok json.Token, at int64, err error) {
	at = d.start()
	tok, err = d.dec.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, at, d.fail(int64(len(d.in)), field, errors.New("the text ends here"))
	case err != nil:
		return nil, at, d.fail(at, field, err)
	}
	if s, ok := tok.(string); ok {
		if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
			return nil, at, d.fail(at, field, fmt.Errorf("%q has a control character", s))
		}
	}
	return tok, at, nil
}

// start is where the next token begins: the decoder stands before the white space and punctuation in front of it.
func (d *decoder) start() int64 {
	i := d.dec.InputOffset()
	for i < int64(len(d.in)) && strings.IndexByte(" \t\r\n,:", d.in[i]) >= 0 {
		i++
	}
	return i
}

// value reads one value of a type. The types of Machine are structs, maps, slices, strings, numbers, booleans, and
// those that read themselves from text.
func (d *decoder) value(t reflect.Type, field string) error {
	tok, at, err := d.token(field)
	if err != nil {
		return err
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(t)); ok {
		return d.text(u, tok, at, field)
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if tok != json.Delim('{') {
			return d.wrong(at, field, "an object", tok)
		}
		return d.object(t, field)
	case reflect.Slice:
		if tok != json.Delim('[') {
			return d.wrong(at, field, "an array", tok)
		}
		return d.array(t, field)
	case reflect.String:
		s, ok := tok.(string)
		if !ok {
			return d.wrong(at, field, "a string", tok)
		}
		if err := known(t, s); err != nil {
			return d.fail(at, field, err)
		}
	case reflect.Bool:
		if _, ok := tok.(bool); !ok {
			return d.wrong(at, field, "true or false", tok)
		}
	default:
		return d.number(t, tok, at, field)
	}
	return nil
}

func (d *decoder) text(u encoding.TextUnmarshaler, tok json.Token, at int64, field string) error {
	s, ok := tok.(string)
	if !ok {
		return d.wrong(at, field, "a string", tok)
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		return d.fail(at, field, err)
	}
	return nil
}

func (d *decoder) number(t reflect.Type, tok json.Token, at int64, field string) error {
	n, ok := tok.(json.Number)
	if !ok {
		return d.wrong(at, field, "a number", tok)
	}
	if strings.HasPrefix(n.String(), "-") {
		return d.fail(at, field, fmt.Errorf("%s is below 0", n))
	}
	if err := json.Unmarshal([]byte(n), reflect.New(t).Interface()); err != nil {
		return d.fail(at, field, fmt.Errorf("%s is no whole number of this size", n))
	}
	return nil
}

func (d *decoder) object(t reflect.Type, field string) error {
	seen := map[string]bool{}
	for d.dec.More() {
		tok, at, err := d.token(field)
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		inner := strings.TrimPrefix(field+"."+name, ".")
		if seen[name] {
			return d.fail(at, inner, errors.New("comes twice"))
		}
		seen[name] = true
		of, ok := member(t, name)
		if !ok {
			return d.fail(at, inner, errors.New("no such field"))
		}
		if err := d.value(of, inner); err != nil {
			return err
		}
	}
	_, _, err := d.token(field)
	return err
}

func (d *decoder) array(t reflect.Type, field string) error {
	for i := 0; d.dec.More(); i++ {
		if err := d.value(t.Elem(), fmt.Sprintf("%s[%d]", field, i)); err != nil {
			return err
		}
	}
	_, _, err := d.token(field)
	return err
}

// member is the type of a member of a struct or map.
func member(t reflect.Type, name string) (reflect.Type, bool) {
	if t.Kind() == reflect.Map {
		return t.Elem(), known(t.Key(), name) == nil
	}
	for f := range t.Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type, true
		}
	}
	return nil, false
}

// known refuses a string that is none of those its type has.
func known(t reflect.Type, s string) error {
	var all []string
	switch t {
	case reflect.TypeFor[Option]():
		all = names(Options())
	case reflect.TypeFor[Role]():
		all = names(Roles())
	case reflect.TypeFor[Toggle]():
		all = names(Toggles())
	case reflect.TypeFor[Eswitch]():
		all = names(Eswitches())
	case reflect.TypeFor[XDPFeature]():
		all = names(XDPFeatures())
	default:
		return nil
	}
	if slices.Contains(all, s) {
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(all, ", "))
}

func names[S ~string](all []S) []string {
	out := make([]string, 0, len(all))
	for _, s := range all {
		out = append(out, string(s))
	}
	return out
}

func (d *decoder) wrong(at int64, field, want string, got json.Token) error {
	return d.fail(at, field, fmt.Errorf("want %s, got %s", want, kindOf(got)))
}

func kindOf(tok json.Token) string {
	switch t := tok.(type) {
	case nil:
		return "null"
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "an array"
	case string:
		return "a string"
	case bool:
		return "true or false"
	}
	return "a number"
}

// fail puts a place to an error.
func (d *decoder) fail(at int64, field string, err error) error {
	before := d.in[:min(at, int64(len(d.in)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	return &SyntaxError{Line: line, Column: column, Field: field, Err: err}
}

// validPrefix is what of b is UTF-8 from the front.
func validPrefix(b []byte) []byte {
	i := 0
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return b[:i]
}
