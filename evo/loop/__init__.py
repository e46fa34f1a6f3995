"""Who is submitted when, what is answered from the record, finalists, and what trainings cost."""
