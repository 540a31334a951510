// SPDX-License-Identifier: Apache-2.0
/* Where a message body ends: see body.h. */
#include "body.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void body_begin(struct body *body, const char *head, size_t head_len, bool response)
{
	const char *length = head_value(head, head_len, "Content-Length");

	*body = (struct body){.kind = BODY_LENGTH};
	if (head_says(head, head_len, "Transfer-Encoding", "chunked"))
		body->kind = BODY_CHUNKED;
	else if (length)
		body->left = strtoull(length, NULL, 10);
	else if (response)
		body->kind = BODY_UNTIL_CLOSE;
	body->done = body->kind == BODY_LENGTH && body->left == 0;
}

static void size_digit(struct body *body, char c)
{
	int digit = isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10;

	errno = 0;
	if (!isxdigit((unsigned char)c))
		die("byte 0x%02x in the size of a chunk", (unsigned char)c);
	body->left = body->left * 16 + (uint64_t)digit;
}

/* One byte that is not chunk data. */
static void chunk_byte(struct body *body, char c)
{
	switch (body->state) {
	case CHUNK_SIZE_LINE:
	case CHUNK_EXTENSION:
		if (c == '\n') {
			body->state = body->left ? CHUNK_DATA : CHUNK_TRAILER;
			body->trailer = 0;
		} else if (c == ';' || c == '\r') {
			body->state = CHUNK_EXTENSION;
		} else if (body->state == CHUNK_SIZE_LINE) {
			size_digit(body, c);
		}
		break;
	case CHUNK_DATA_END:
		if (c == '\n')
			body->state = CHUNK_SIZE_LINE;
		break;
	case CHUNK_TRAILER:
		if (c == '\n' && body->trailer == 0)
			body->done = true;
		else if (c == '\n')
			body->trailer = 0;
		else if (c != '\r')
			body->trailer++;
		break;
	case CHUNK_DATA:
		break;
	}
}

static size_t take_data(struct body *body, size_t available)
{
	size_t n = available < body->left ? available : (size_t)body->left;

	body->left -= n;
	body->payload += n;
	return n;
}

size_t body_feed(struct body *body, const char *data, size_t len)
{
	size_t used = 0;

	switch (body->kind) {
	case BODY_UNTIL_CLOSE:
		body->payload += len;
		return len;
	case BODY_LENGTH:
		used = take_data(body, len);
		body->done = body->left == 0;
		return used;
	case BODY_CHUNKED:
		break;
	}
	while (used < len && !body->done) {
		if (body->state == CHUNK_DATA) {
			used += take_data(body, len - used);
			if (!body->left)
				body->state = CHUNK_DATA_END;
		} else {
			chunk_byte(body, data[used++]);
		}
	}
	return used;
}

int body_drain(struct body *body, int fd, const char *data, size_t len)
{
	char *buf = must_alloc(READ_SIZE);
	int result = 0;

	if (len)
		body_feed(body, data, len);
	while (!body->done) {
		ssize_t n = read(fd, buf, READ_SIZE);

		if (n == 0 && body->kind == BODY_UNTIL_CLOSE) {
			body->done = true;
		} else if (n <= 0) {
			result = -1;
			break;
		} else {
			body_feed(body, buf, (size_t)n);
		}
	}
	free(buf);
	return result;
}
