package fake

// unsettled holds what a consumer has not settled, by Delivery.Tag: the place in
// places, below a number that makes the tag of a place that is used again another
// one.
type unsettled struct {
	places []place
	free   []int // of places
	number uint64
}

// place is that of one delivery. A free one has no item.
type place struct {
	tag  uint64
	item *item
}

// placeBits is how many bits of a tag tell the place: more than a prefetch has.
const placeBits = 32

func (u *unsettled) len() int { return len(u.places) - len(u.free) }

// add returns the tag of what take finds then.
func (u *unsettled) add(it *item) (tag uint64) {
	i := len(u.places)
	if last := len(u.free) - 1; last >= 0 {
		i = u.free[last]
		u.free = u.free[:last]
	} else {
		u.places = append(u.places, place{})
	}
	u.number++
	tag = u.number<<placeBits | uint64(i)
	u.places[i] = place{tag: tag, item: it}
	return tag
}

// take removes what has that tag; nil: it was taken or forgotten before.
func (u *unsettled) take(tag uint64) *item {
	i := tag & (1<<placeBits - 1)
	if i >= uint64(len(u.places)) || u.places[i].tag != tag {
		return nil
	}
	it := u.places[i].item
	if it != nil {
		u.places[i].item = nil
		u.free = append(u.free, int(i))
	}
	return it
}

// drain forgets everything, and calls f for each.
func (u *unsettled) drain(f func(*item)) {
	places := u.places
	u.places, u.free = nil, nil
	for _, p := range places {
		if p.item != nil {
			f(p.item)
		}
	}
}
