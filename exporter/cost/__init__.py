"""The usage log in SQL, the price book, pricing of usage."""
