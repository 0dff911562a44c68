/* Intrusive doubly linked rings: a link lives in the struct that is listed, so that entering and
 * leaving a list takes no memory and no search. A link that is in no list points to itself. */
#ifndef FTCHAT_NET_LINK_H
#define FTCHAT_NET_LINK_H

#include <stdbool.h>

struct link {
    struct link *previous;
    struct link *next;
};

static inline void link_init(struct link *link)
{
    link->previous = link;
    link->next = link;
}

/* Is the link in a list; or, of a list's head: is there anything in it? */
static inline bool link_is_used(const struct link *link)
{
    return link->next != link;
}

static inline void link_remove(struct link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link_init(link);
}

/* After `before`; a list's head as `before` makes it the first, head->previous the last. */
static inline void link_insert(struct link *before, struct link *link)
{
    link->previous = before;
    link->next = before->next;
    before->next->previous = link;
    before->next = link;
}

#endif
