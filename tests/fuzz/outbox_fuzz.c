/* A state file of any bytes: what is read of it is consistent and can be written and read again. */
#include "cmd/client/outbox_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outbox_image image;
    if (!outbox_read(&image, (struct slice) { data, size }))
        return 0;
    if (image.whole_bytes > size || image.recovered.done_seq > image.recovered.last_seq)
        abort();
    struct text_out out = { 0 };
    struct outbox_image again;
    outbox_write_all(&out, &image.recovered);
    if (!outbox_read(&again, (struct slice) { (uint8_t *)out.data, out.end }) ||
        again.whole_bytes != out.end ||
        again.recovered.entry_count != image.recovered.entry_count ||
        again.recovered.last_number != image.recovered.last_number ||
        again.recovered.last_seq != image.recovered.last_seq ||
        again.recovered.done_seq != image.recovered.done_seq)
        abort();
    free(again.entries);
    free(image.entries);
    text_free(&out);
    return 0;
}
