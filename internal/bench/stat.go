package bench

import (
	"math"
	"slices"
)

// quantile is the value below which the share q of the samples lies, interpolated; NaN of nothing.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	at := q * float64(len(s)-1)
	low := int(at)
	if low == len(s)-1 {
		return s[low]
	}
	return s[low] + (at-float64(low))*(s[low+1]-s[low])
}

func median(samples []float64) float64 { return quantile(samples, 0.5) }

// spread is the distance between the quartiles as a share of the median.
func spread(samples []float64) float64 {
	return (quantile(samples, 0.75) - quantile(samples, 0.25)) / median(samples)
}

// medianInterval is the narrowest interval between two samples, the k-th from below and the k-th from above, that
// covers the true median with at least 95 % confidence, whatever the distribution (sign test): for 11 samples the
// second and the tenth. It also returns the confidence. Too few samples (under 6) give the extremes and what they cover.
func medianInterval(samples []float64) (low, high, confidence float64) {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return math.NaN(), math.NaN(), 0
	}
	cover := func(k int) float64 { // between the k-th from each end, k from 1
		p := 1.0
		for i := range k {
			p -= 2 * choose(n, i) * math.Pow(0.5, float64(n))
		}
		return p
	}
	k := 1
	for 2*(k+1) <= n && cover(k+1) >= 0.95 {
		k++
	}
	return s[k-1], s[n-k], cover(k)
}

func choose(n, k int) float64 {
	c := 1.0
	for i := range k {
		c = c * float64(n-i) / float64(i+1)
	}
	return c
}
