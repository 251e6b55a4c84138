package ruleset

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParseSelector reads a selector in nft's syntax, or several with dots between them: header fields, meta, ct and rt
// data, TCP options, extension headers, raw payload. It is for the few places where nft prints text in place of JSON:
// `typeof` declarations and updates of maps, in nft 1.0.6. ok is false for anything else.
func ParseSelector(text string) (e Expr, ok bool) {
	var list Concat
	for part := range strings.SplitSeq(text, " . ") {
		x, ok := parseOne(strings.TrimSpace(part))
		if !ok {
			return nil, false
		}
		list = append(list, x)
	}
	if len(list) == 1 {
		return list[0], true
	}
	return list, true
}

// parseOne reads one selector and accepts it when its type is known.
func parseOne(text string) (Expr, bool) {
	first, rest, _ := strings.Cut(text, " ")
	var e Expr
	switch first {
	case "meta":
		e = Meta{Key: rest}
	case "iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup":
		e = Meta{Key: text}
	case "ct":
		e = parseCT(rest)
	case "rt":
		e = parseRT(rest)
	case "tcp":
		e = Payload{Proto: first, Field: rest}
		if option, ok := strings.CutPrefix(rest, "option "); ok {
			name, field, _ := strings.Cut(option, " ")
			e = Option{Kind: "tcp option", Name: name, Field: field}
		}
	case "hbh", "dst", "frag", "mh", "srh", "rt0", "rt2":
		e = Exthdr{Name: first, Field: rest}
	default:
		e = Payload{Proto: first, Field: rest}
		if strings.HasPrefix(first, "@") {
			e = parseRaw(first)
		}
	}
	if x, ok := e.(Exthdr); ok && x.Field == "" {
		return nil, false
	}
	_, ok := TypeOf(e, nil)
	return e, ok
}

// parseCT reads what follows "ct".
func parseCT(text string) Expr {
	for _, dir := range []string{"original", "reply"} {
		if key, ok := strings.CutPrefix(text, dir+" "); ok {
			return CT{Key: key, Dir: dir}
		}
	}
	return CT{Key: text}
}

// parseRT reads what follows "rt": routing data, or the routing header of IPv6.
func parseRT(text string) Expr {
	for _, family := range []string{"ip", "ip6"} {
		if key, ok := strings.CutPrefix(text, family+" "); ok {
			return RT{Key: key, Family: family}
		}
	}
	if _, ok := HeaderField("rt", text); ok {
		return Exthdr{Name: "rt", Field: text}
	}
	return RT{Key: text}
}

// parseRaw reads "@th,16,32".
func parseRaw(text string) Expr {
	part := strings.Split(strings.TrimPrefix(text, "@"), ",")
	if len(part) != 3 {
		return Str(text)
	}
	offset, err1 := strconv.ParseUint(part[1], 10, 16)
	length, err2 := strconv.ParseUint(part[2], 10, 16)
	if err1 != nil || err2 != nil {
		return Str(text)
	}
	return RawPayload{Base: part[0], Offset: int(offset), Len: int(length)}
}

// parseUpdate reads `add @m { key timeout 5s : data }`, the string in place of JSON that nft 1.0.6 prints for a
// statement that changes a map.
func parseUpdate(text string) (SetUpdate, bool) {
	op, rest, ok := strings.Cut(text, " @")
	name, body, ok1 := strings.Cut(rest, " { ")
	body, ok2 := strings.CutSuffix(body, " }")
	key, data, ok3 := strings.Cut(body, " : ")
	if !ok || !ok1 || !ok2 || !ok3 || op != "add" && op != "update" && op != "delete" {
		return SetUpdate{}, false
	}
	u := SetUpdate{Op: op, Set: SetRef(name)}
	key, span, timed := strings.Cut(key, " timeout ")
	if u.Elem, ok = ParseSelector(key); !ok {
		return SetUpdate{}, false
	}
	if timed {
		seconds, ok := parseDuration(span)
		if !ok {
			return SetUpdate{}, false
		}
		u.Elem = Elem{Val: u.Elem, Timeout: seconds}
	}
	u.Data, ok = parseData(data)
	return u, ok
}

// parseData reads what a map gets: a selector, or constants.
func parseData(text string) (Expr, bool) {
	if e, ok := ParseSelector(text); ok {
		return e, true
	}
	var list Concat
	for part := range strings.SplitSeq(text, " . ") {
		if n, err := strconv.ParseUint(part, 0, 64); err == nil {
			list = append(list, Num(n))
			continue
		}
		if _, err := netip.ParseAddr(part); err != nil {
			return nil, false
		}
		list = append(list, Str(part))
	}
	if len(list) == 1 {
		return list[0], true
	}
	return list, true
}

// parseDuration reads "1d2h3m4s" in seconds; less than a second counts as none.
func parseDuration(text string) (uint64, bool) {
	var total, n uint64
	digits := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= '0' && c <= '9' && n < 1<<40:
			n, digits = n*10+uint64(c-'0'), true
			continue
		case !digits:
			return 0, false
		case c == 'd':
			n *= 86400
		case c == 'h':
			n *= 3600
		case c == 'm' && strings.HasPrefix(text[i:], "ms"):
			i++
			n = 0
		case c == 'm':
			n *= 60
		case c == 's':
		default:
			return 0, false
		}
		total, n, digits = total+n, 0, false
	}
	return total, !digits && text != ""
}

// update reads a statement that is a JSON string.
func (b *builder) update(v value) (SetUpdate, bool) {
	u, ok := parseUpdate(v.str())
	if ok {
		b.refer("set", string(u.Set), v)
	}
	return u, ok
}
