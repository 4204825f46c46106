"""An application on SQLAlchemy, as people write them: nothing in it knows of bdr.

    sqlalchemy_shop.py create CONNINFO       makes the tables
    sqlalchemy_shop.py write CONNINFO NAME   inserts rows in every way that leaves ids to defaults
    sqlalchemy_shop.py draw CONNINFO NAME    inserts rows in the ways in which SQLAlchemy calls nextval()

NAME begins the notes of a run, which are told apart by them. The last two end with a line for each row that
was inserted, "TABLE ID NOTE", with the id that SQLAlchemy gave the application; it must be the row's own.
"""
import sys

import psycopg2
from sqlalchemy import (BigInteger, Column, Identity, Integer, MetaData, Sequence, Table, Text, create_engine,
                        insert, select)
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()


class Serial(Base):
    __tablename__ = "sa_serial"
    id = Column(Integer, primary_key=True)
    note = Column(Text, nullable=False)


class BigSerial(Base):
    __tablename__ = "sa_bigserial"
    id = Column(BigInteger, primary_key=True)
    note = Column(Text, nullable=False)


class ByDefault(Base):
    __tablename__ = "sa_by_default"
    id = Column(Integer, Identity(), primary_key=True)
    note = Column(Text, nullable=False)


class Always(Base):
    __tablename__ = "sa_always"
    id = Column(BigInteger, Identity(always=True), primary_key=True)
    note = Column(Text, nullable=False)


class Explicit(Base):
    __tablename__ = "sa_explicit"
    id = Column(Integer, Sequence("sa_explicit_seq"), primary_key=True)
    note = Column(Text, nullable=False)


def engine_of(conninfo, **options):
    return create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(conninfo), **options)


def notes(name, how, count):
    return [f"{name}-{how}-{i}" for i in range(count)]


def check(session, model, objects):
    """That each object has the id of the row that has its note; what it says itself."""
    told = {o.note: o.id for o in objects}
    rows = session.execute(select(model.__table__.c.note, model.__table__.c.id)
                           .where(model.__table__.c.note.in_(told))).all()
    assert dict(rows) == told, f"{model.__tablename__}: objects say {told}, rows {rows}"
    return [(model.__tablename__, o.id, o.note) for o in objects]


def add_one_by_one(session, model, name, how, count):
    objects = []
    for note in notes(name, how, count):
        objects.append(model(note=note))
        session.add(objects[-1])
        session.flush()
        assert objects[-1].id is not None
    return objects


def add_all(session, model, name, how, count):
    objects = [model(note=note) for note in notes(name, how, count)]
    session.add_all(objects)
    session.flush()
    return objects


def write(conninfo, name):
    done = []
    engine = engine_of(conninfo)
    for model in (Serial, BigSerial, ByDefault, Always):
        with Session(engine) as session:
            objects = add_one_by_one(session, model, name, "add", 20)
            objects += add_all(session, model, name, "add_all", 200)
            saved = [model(note=note) for note in notes(name, "bulk_save", 20)]
            session.bulk_save_objects(saved, return_defaults=True)
            done += check(session, model, objects + saved)
            session.commit()
            # What was committed is read again by the id.
            assert all(session.get(model, o.id).note == o.note for o in objects[:3])
        # Of the table as the database has it, which is where SQLAlchemy sees the default.
        with engine.begin() as connection:
            reflected = Table(model.__tablename__, MetaData(), autoload_with=engine)
            for note in notes(name, "reflected", 5):
                result = connection.execute(insert(reflected).values(note=note))
                done.append((reflected.name, result.inserted_primary_key[0], note))
            for note in notes(name, "returning", 5):
                row = connection.execute(insert(reflected).values(note=note).returning(reflected.c.id))
                done.append((reflected.name, row.scalar_one(), note))
    return done


def draw(conninfo, name):
    done = []
    with Session(engine_of(conninfo)) as session:
        objects = add_one_by_one(session, Explicit, name, "add", 20)
        objects += add_all(session, Explicit, name, "add_all", 100)
        for note in notes(name, "select", 20):
            chosen = session.execute(select(Sequence("sa_explicit_seq").next_value())).scalar_one()
            objects.append(Explicit(id=chosen, note=note))
            session.add(objects[-1])
        session.flush()
        done += check(session, Explicit, objects)
        session.commit()
    # Without RETURNING it asks for the number first, by the name that PostgreSQL gives a serial's sequence.
    with Session(engine_of(conninfo, implicit_returning=False)) as session:
        for model in (Serial, BigSerial):
            done += check(session, model, add_one_by_one(session, model, name, "first", 20))
        session.commit()
    return done


if __name__ == "__main__":
    if sys.argv[1] == "create":
        Base.metadata.create_all(engine_of(sys.argv[2]))
    else:
        for row in {"write": write, "draw": draw}[sys.argv[1]](*sys.argv[2:]):
            print(*row)
